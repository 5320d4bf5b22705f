//! Prints the public items of a crate, one a line, from the JSON that rustdoc has written of it. Says on standard
//! error which public types, functions and options of builders have no example.

use std::collections::HashSet;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::Value;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let json = std::env::args_os().nth(1).ok_or("usage: list-api RUSTDOC_JSON")?;
    // `Send` and `Sync` of the types are held by `tests/it/api.rs`.
    let api = public_api::Builder::from_rustdoc_json(&json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()?;
    let mut out = io::stdout().lock();
    for item in api.items() {
        let item = item.to_string();
        if !SAID_BY_THE_TRAIT.iter().any(|part| item.contains(part)) {
            writeln!(out, "{item}")?;
        }
    }

    let docs: Value = serde_json::from_str(&fs::read_to_string(json)?)?;
    let mut without = Examples { docs: &docs["index"], seen: HashSet::new(), without: Vec::new() };
    without.visit(&docs["root"], "");
    for path in &without.without {
        eprintln!("has no example: {path}");
    }
    Ok(if without.without.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WITHOUT_EXAMPLE) })
}

/// The exit code if an example is missing; all else that goes wrong is 1.
const WITHOUT_EXAMPLE: u8 = 3;

/// Looks for public items whose docs have no code.
struct Examples<'a> {
    docs: &'a Value,
    seen: HashSet<u64>,
    without: Vec<String>,
}

impl<'a> Examples<'a> {
    fn visit(&mut self, module: &Value, path: &str) {
        for id in list(&self.item(module)["inner"]["module"]["items"]) {
            let mut id = id;
            if let Some(used) = self.item(id)["inner"].get("use") {
                id = &used["id"];
            }
            let item = self.item(id);
            let path = format!("{path}::{}", item["name"].as_str().unwrap_or_default());
            let Some((kind, inner)) =
                item["inner"].as_object().and_then(|inner| inner.iter().next())
            else {
                continue;
            };
            if NOT_SHOWN.contains(&path.as_str()) || !self.seen.insert(id.as_u64().unwrap_or(0)) {
                continue;
            }
            match kind.as_str() {
                "module" => self.visit(id, &path),
                "struct" | "enum" | "trait" | "function" | "type_alias" => {
                    self.look(item, &path);
                    if path.ends_with("Builder") {
                        self.look_at_methods(inner, &path);
                    }
                }
                _ => {}
            }
        }
    }

    fn look_at_methods(&mut self, builder: &Value, path: &str) {
        for id in list(&builder["impls"]) {
            let of = &self.item(id)["inner"]["impl"];
            if of["trait"].is_null() && of["is_synthetic"] == false {
                for id in list(&of["items"]) {
                    let method = self.item(id);
                    let name = method["name"].as_str().unwrap_or_default();
                    self.look(method, &format!("{path}::{name}"));
                }
            }
        }
    }

    fn look(&mut self, item: &Value, path: &str) {
        if !item["docs"].as_str().is_some_and(|docs| docs.contains("```")) {
            self.without.push(path.to_owned());
        }
    }

    fn item(&self, id: &Value) -> &'a Value {
        &self.docs[id.to_string()]
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Modules whose items need no example: the seam for journals is for other crates of ours.
const NOT_SHOWN: &[&str] = &["::journal", "::fuzzing", "::simulation"];

/// What an impl of a well-known trait has in any case.
const SAID_BY_THE_TRAIT: &[&str] = &[
    "::clone(&self) ->",
    "::cmp(&self, ",
    "::eq(&self, ",
    "::fmt(&self, &mut core::fmt::Formatter<'_>)",
    "::hash<__H: ",
    "::partial_cmp(&self, ",
    "StructuralPartialEq for ",
];
