//! Which module may import which. Dependencies between modules are acyclic.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The module on the left may import those on the right. Files inside of a module are not checked here.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("builder", &["*"]),
    ("simulation", &["*"]),
    ("fuzzing", &["*"]),
    (
        "handle",
        &[
            "queue",
            "stats",
            "line",
            "error",
            "call",
            "completion",
            "activity",
            "installation",
            "protocol",
            "registration",
            "request",
            "transport",
            "thread_role",
        ],
    ),
    ("config", &["error", "format", "line", "queue", "transport", "worker"]),
    ("fields", &[]),
    ("format", &["fields", "line", "stats", "protocol", "error"]),
    ("layer", &["fields", "line", "queue", "stats"]),
    ("logger", &["fields", "line", "queue", "handle", "stats"]),
    (
        "queue",
        &["line", "stats", "call", "completion", "error", "protocol", "transport", "thread_role"],
    ),
    (
        "worker",
        &[
            "queue",
            "line",
            "format",
            "protocol",
            "transport",
            "stats",
            "error",
            "call",
            "completion",
            "journal",
        ],
    ),
    ("spool", &["journal", "line", "stats", "error"]),
    ("journal", &["format", "line", "stats", "thread_role"]),
    ("relay", &["error", "handle", "line", "queue"]),
    ("transport", &["protocol", "error", "line", "thread_role"]),
    ("activity", &["installation", "request", "line", "transport", "error"]),
    ("installation", &["request", "line", "transport", "error"]),
    ("request", &["error"]),
    ("registration", &["call", "error"]),
    ("call", &[]),
    ("completion", &[]),
    ("protocol", &[]),
    ("line", &["stats"]),
    ("stats", &[]),
    ("error", &["line"]),
    ("thread_role", &[]),
];

/// The same for modules of the worker. `worker.rs` itself may import all of them.
const IN_WORKER: &[(&str, &[&str])] = &[
    ("told", &["engine", "report"]),
    ("exchange", &["engine", "gate"]),
    ("tasks", &["engine", "gate", "lane"]),
    ("gate", &["engine"]),
    (
        "engine",
        &[
            "agenda",
            "backlog",
            "elsewhere",
            "ending",
            "entry",
            "incoming",
            "lane",
            "ledger",
            "memo",
            "outbox",
            "render",
            "report",
            "retry",
            "style",
            "trail",
            "turn",
        ],
    ),
    (
        "lane",
        &[
            "coalescer",
            "deadlines",
            "end",
            "ending",
            "entry",
            "incoming",
            "ledger",
            "memo",
            "meters",
            "rate",
            "report",
            "retry",
            "style",
            "turn",
        ],
    ),
    ("turn", &["ending", "entry", "incoming", "ledger", "report"]),
    (
        "coalescer",
        &[
            "agenda", "budgets", "end", "ending", "entry", "gaps", "incoming", "memo", "schedule",
            "style",
        ],
    ),
    (
        "ledger",
        &[
            "elsewhere",
            "ending",
            "entry",
            "gaps",
            "incoming",
            "outbox",
            "report",
            "trail",
            "watches",
        ],
    ),
    ("outbox", &["agenda", "gaps"]),
    ("backlog", &[]),
    ("watches", &["agenda", "ending"]),
    ("deadlines", &["agenda"]),
    ("budgets", &["memo", "schedule"]),
    ("render", &["entry", "style"]),
    ("elsewhere", &["agenda"]),
    ("end", &["ending", "incoming"]),
    ("meters", &["memo", "operating"]),
    ("report", &["retry"]),
    ("agenda", &[]),
    ("ending", &[]),
    ("entry", &["gaps", "incoming", "retry", "style"]),
    ("gaps", &[]),
    ("incoming", &[]),
    ("style", &[]),
    ("operating", &["memo"]),
    ("memo", &[]),
    ("rate", &[]),
    ("retry", &[]),
    ("runtime", &[]),
    ("schedule", &[]),
    ("trail", &[]),
];

/// Crates that only some modules may use.
const ZONES: &[(&str, &[&str])] = &[
    ("http_body", &["transport"]),
    ("reqwest", &["transport"]),
    ("rustls", &["transport"]),
    ("crossbeam_channel", &["queue"]),
    (
        "tokio",
        &["journal", "queue", "worker", "transport", "handle", "relay", "builder", "simulation"],
    ),
    (
        "serde_json",
        &[
            "protocol",
            "transport",
            "request",
            "installation",
            "handle",
            "registration",
            "call",
            "completion",
            "simulation",
            "fuzzing",
        ],
    ),
    ("tracing_subscriber", &["layer", "builder", "simulation"]),
    ("fs4", &["spool"]),
    ("crc32fast", &["spool"]),
];

#[test]
fn every_module_imports_only_what_it_may() {
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut crates: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut |module, code| {
        for path in paths_after(code, "crate::") {
            imports.entry(module.to_owned()).or_default().insert(path);
        }
        for (name, _) in ZONES {
            if code.contains(&format!("{name}::")) {
                crates.entry((*name).to_owned()).or_default().insert(module.to_owned());
            }
        }
    });
    let mut wrong = Vec::new();
    for (module, imported) in &imports {
        let Some((_, may)) = MAY_IMPORT.iter().find(|(name, _)| name == module) else {
            wrong.push(format!("{module} is not in the list"));
            continue;
        };
        for other in imported {
            let is_module = MAY_IMPORT.iter().any(|(name, _)| name == other);
            if is_module && other != module && !may.contains(&"*") && !may.contains(&other.as_str())
            {
                wrong.push(format!("{module} imports {other}"));
            }
        }
    }
    for (name, zone) in ZONES {
        for module in crates.get(*name).into_iter().flatten() {
            if !zone.contains(&module.as_str()) {
                wrong.push(format!("{module} names the crate {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(imports.len() > 5, "the files were found");
}

#[test]
fn dependencies_inside_of_the_worker_are_acyclic() {
    let worker = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/worker");
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    visit(&worker, None, &mut |module, code| {
        seen.insert(module.to_owned());
        let Some((_, may)) = IN_WORKER.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{module} is not in the list"));
            return;
        };
        let all = ["crate::worker::", "super::"].map(|root| paths_after(code, root)).concat();
        for other in all {
            let is_module = IN_WORKER.iter().any(|(name, _)| *name == other);
            if is_module && other != module && !may.contains(&other.as_str()) {
                wrong.push(format!("{module} imports {other}"));
            }
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The list itself has no cycle: each module imports only modules that come later in the list.
    for (n, (name, may)) in IN_WORKER.iter().enumerate() {
        let place = |other: &str| IN_WORKER.iter().position(|(name, _)| *name == other).unwrap();
        assert!(may.iter().all(|other| place(other) > n), "{name} imports what stands before it");
        assert!(seen.contains(*name), "{name} is a file");
    }
}

/// DESIGN.md has a picture of the modules.
#[test]
fn the_picture_in_the_design_has_every_module() {
    let design = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("DESIGN.md"));
    let design = design.unwrap();
    let picture = design.split("```text").nth(1).and_then(|text| text.split("```").next());
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: BTreeSet<&str> =
        picture.unwrap().split(|c| !is_name(c)).filter(|word| !word.is_empty()).collect();
    let modules = MAY_IMPORT.iter().chain(IN_WORKER).map(|(module, _)| *module);
    let missing: Vec<&str> = modules.filter(|module| !words.contains(module)).collect();
    assert!(missing.is_empty(), "the picture in DESIGN.md lacks {missing:?}");
}

/// `Layer::downcast_raw` is declared unsafe, and the coarse clock is a system call. Nothing else in this crate
/// is unsafe.
#[test]
fn there_is_one_unsafe_method_and_one_unsafe_call() {
    let mut found = BTreeMap::new();
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut |module, code| {
        let count = code.matches("unsafe fn ").count() + code.matches("unsafe {").count();
        let allowed = code.matches("unsafe_code").count();
        if count + allowed > 0 {
            found.insert(module.to_owned(), (count, allowed));
        }
    });
    assert_eq!(found, BTreeMap::from([("layer".to_owned(), (2, 1)), ("line".to_owned(), (1, 1))]));
}

/// Calls `with` for each source file: the name of its top module, and its code without comments and
/// without its tests.
fn visit(folder: &Path, module: Option<&str>, with: &mut impl FnMut(&str, &str)) {
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let module = module.unwrap_or(&stem);
        if stem == "lib" || stem == "tests" {
            continue;
        }
        if path.is_dir() {
            visit(&path, Some(module), with);
        } else {
            let code = fs::read_to_string(&path).unwrap();
            let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            with(module, &lines.collect::<Vec<_>>().join("\n"));
        }
    }
}

/// The first names after `root`, also in `root::{a::b, c}`.
fn paths_after(code: &str, root: &str) -> Vec<String> {
    let name = |text: &str| {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    code.split(root)
        .skip(1)
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or("").split(',').map(name).collect(),
            None => vec![name(rest)],
        })
        .collect()
}
