//! Prints the public items of a crate, one a line, from the JSON that rustdoc has written of it.

use std::error::Error;
use std::io::{self, Write};

fn main() -> Result<(), Box<dyn Error>> {
    let json = std::env::args_os().nth(1).ok_or("usage: list-api RUSTDOC_JSON")?;
    // `Send` and `Sync` of the types are held by `tests/it/api.rs`.
    let api = public_api::Builder::from_rustdoc_json(json)
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
    Ok(())
}

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
