//! Which module may import which: the arrows between the files go one way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Each module may import those above it. What a module's own files import of each other is their
/// affair.
const ORDER: &[&str] = &[
    "clock",
    "random",
    "php",
    "settings",
    "error",
    "limits",
    "lines",
    "credentials",
    "oauth",
    "state",
    "faults",
    "journal",
    "wire",
    "socket",
    "tls",
    "core",
    "outgoing",
    "app",
    "activity",
    "workflow",
    "rest",
    "http",
    "page",
    "server",
    "portal",
];

/// These do no I/O and are told the time.
const DECIDERS: &[&str] = &["php", "settings", "error", "limits", "oauth", "state", "faults"];

/// Each module's code, without comments and tests.
fn modules() -> BTreeMap<String, String> {
    let mut modules = BTreeMap::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut modules);
    modules
}

fn visit(folder: &Path, module: Option<&str>, modules: &mut BTreeMap<String, String>) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = module.unwrap_or(&stem);
        if ["lib", "main", "cli", "judged_by_php"].contains(&module) {
            continue;
        }
        if path.is_dir() {
            visit(&path, Some(module), modules);
            continue;
        }
        let code = fs::read_to_string(&path).unwrap();
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let text = modules.entry(module.to_owned()).or_default();
        lines.for_each(|line| text.extend([line, "\n"]));
    }
}

/// The first names behind `crate::`, also of `crate::{a::b, c}`.
fn imported(code: &str) -> BTreeSet<String> {
    let name = |text: &str| {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    code.split("crate::")
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or("").split(',').map(name).collect(),
            None => vec![name(rest)],
        })
        .collect()
}

#[test]
fn modules_import_only_modules_above_them() {
    let modules = modules();
    let place = |name: &str| ORDER.iter().position(|known| *known == name);
    let mut wrong = Vec::new();
    for (module, code) in &modules {
        let Some(own) = place(module) else {
            wrong.push(format!("{module} is not in the list"));
            continue;
        };
        let later = |other: &String| place(other).is_some_and(|place| place > own);
        for other in imported(code).iter().filter(|other| later(other)) {
            wrong.push(format!("{module} imports {other}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(modules.len(), ORDER.len(), "every module of the list is there");
}

#[test]
fn deciding_modules_do_no_io_and_read_no_clock() {
    let modules = modules();
    for module in DECIDERS {
        for forbidden in ["tokio", "hyper", "std::net::Tcp", "Instant::now", "SystemTime::now"] {
            assert!(!modules[*module].contains(forbidden), "{module} names {forbidden}");
        }
    }
}
