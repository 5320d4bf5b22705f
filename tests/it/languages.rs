//! Both languages of the README and of the guide say the same: equal headings, code and names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PAIRS: [(&str, &str); 2] =
    [("README.md", "README.ru.md"), ("docs/guide.md", "docs/guide.ru.md")];

/// Where links to files of the repository begin. The address is a placeholder until it is known.
const FILES: &str = "https://github.com/OWNER/tracing-bizproc/blob/main/";

#[test]
fn both_languages_have_the_same_headings() {
    for (english, russian) in PAIRS {
        let (english, russian) = (Page::read(english), Page::read(russian));
        let levels =
            |page: &Page| page.headings.iter().map(|(level, _)| *level).collect::<Vec<_>>();
        let pairs: Vec<_> = english.headings.iter().zip(&russian.headings).collect();
        assert_eq!(levels(&english), levels(&russian), "{pairs:#?}");
        assert!(english.headings.len() > 10, "the headings were found");
    }
}

#[test]
fn both_languages_have_the_same_code() {
    for (english, russian) in PAIRS {
        let (english, russian) = (Page::read(english), Page::read(russian));
        assert_eq!(english.code, russian.code);
        assert!(english.code.len() > 5, "the code was found");
    }
}

/// Options, types, counters and error codes are between backquotes.
#[test]
fn both_languages_have_the_same_names() {
    for (english, russian) in PAIRS {
        let (english, russian) = (Page::read(english), Page::read(russian));
        let only_english: Vec<_> = english.names.difference(&russian.names).collect();
        let only_russian: Vec<_> = russian.names.difference(&english.names).collect();
        assert!(
            only_english.is_empty() && only_russian.is_empty(),
            "only in English: {only_english:#?}, only in Russian: {only_russian:#?}"
        );
        assert!(english.names.len() > 30, "the names were found");
    }
}

/// This crate cannot compile it, because the relay's crate depends on this one. It is a doctest there.
#[test]
fn the_guides_code_for_a_relay_is_in_the_readme_of_the_relay() {
    let of_relay = |page: &str| -> Vec<Vec<String>> {
        let code = Page::read(page).code.into_iter().map(|(_, lines)| lines);
        code.filter(|lines| lines.iter().any(|line| line.contains(".publish_to("))).collect()
    };
    let in_guide = of_relay("docs/guide.md");
    assert_eq!(in_guide.len(), 1, "the code was found");
    assert_eq!(in_guide, of_relay("relay/README.md"));
}

#[test]
fn the_readme_names_every_option() {
    // The methods of the builder are in several files.
    let mut builder = fs::read_to_string(in_root("src/builder.rs")).unwrap();
    for file in fs::read_dir(in_root("src/builder")).unwrap() {
        builder += &fs::read_to_string(file.unwrap().path()).unwrap();
    }
    let readme = fs::read_to_string(in_root("README.md")).unwrap();
    let options = builder.split("pub fn ").skip(1).filter_map(|text| {
        let (name, rest) = text.split_once('(')?;
        let head = rest.split('{').next()?;
        (head.contains("self") && head.contains("-> Self")).then_some(name)
    });
    let options: Vec<&str> = options.collect();
    assert!(options.len() > 20, "{options:?}");
    for option in options {
        let is_named = [format!("`{option}`"), format!("Builder::{option}")]
            .iter()
            .any(|name| readme.contains(name));
        assert!(is_named, "the README does not name the option {option}");
    }
}

#[test]
fn links_to_files_of_the_repository_lead_to_files() {
    let mut found = 0;
    for page in PAIRS.iter().flat_map(|(english, russian)| [english, russian]) {
        let text = fs::read_to_string(in_root(page)).unwrap();
        for link in text.split(FILES).skip(1) {
            let end = link.find([')', '\n', ' ', '#']).unwrap_or(link.len());
            assert!(in_root(&link[..end]).exists(), "{page} links to {}", &link[..end]);
            found += 1;
        }
    }
    assert!(found > 5, "the links were found");
}

/// The parts of a page that must be equal in both languages.
#[derive(Default)]
struct Page {
    /// The level of each heading, and its text.
    headings: Vec<(usize, String)>,
    /// Each block of code: the word after the fence, and its lines.
    code: Vec<(String, Vec<String>)>,
    /// The texts between backquotes, outside of blocks.
    names: BTreeSet<String>,
}

impl Page {
    fn read(path: &str) -> Page {
        let text = fs::read_to_string(in_root(path)).unwrap();
        let mut page = Page::default();
        let mut prose = String::new();
        let mut is_code = false;
        for line in text.lines() {
            let trimmed = line.trim();
            if let Some(language) = trimmed.strip_prefix("```") {
                if !is_code {
                    page.code.push((language.to_owned(), Vec::new()));
                }
                is_code = !is_code;
            } else if is_code {
                let (language, lines) = page.code.last_mut().unwrap();
                match language.starts_with("rust") {
                    true => lines.extend(shared_part(trimmed)),
                    false => lines.push(trimmed.to_owned()),
                }
            } else {
                let level = line.chars().take_while(|c| *c == '#').count();
                if level > 0 {
                    page.headings.push((level, line[level..].trim().to_owned()));
                }
                prose.push_str(trimmed);
                prose.push(' ');
            }
        }
        assert!(!is_code, "{path}: a block has no end");
        page.names = prose.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        page
    }
}

/// The part of a line of code that both languages have: without the comment. `None` if rustdoc hides the line.
fn shared_part(line: &str) -> Option<String> {
    let is_hidden = line == "#" || line.starts_with("# ");
    let code = match line.starts_with("// ") {
        true => "",
        false => line.split(" // ").next().unwrap_or(line).trim_end(),
    };
    (!is_hidden && !code.is_empty()).then(|| code.to_owned())
}

fn in_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
