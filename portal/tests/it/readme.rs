//! The README's table of facts.

use std::fs;
use std::path::Path;

fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_table_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(&root.join("src"), &mut code);
    sources(&root.join("tests"), &mut code);
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let table = readme.split("| fact | test |").nth(1).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_suffix('|')?.rsplit_once('|'));
    let names: Vec<&str> =
        rows.flat_map(|(_, tests)| tests.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 70, "{}", names.len());
    for name in names {
        assert!(
            code.contains(&format!("#[test]\nfn {name}()"))
                || code.contains(&format!("#[test]\n    fn {name}()")),
            "{name}"
        );
    }
}
