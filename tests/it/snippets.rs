//! Checks of code in the documents.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::level_filters::LevelFilter;
use tracing::{info, info_span};
use tracing_subscriber::prelude::*;

use crate::stage::{Captured, PATIENCE, in_child, is_child, quick, token};

/// hyper and reqwest log a dozen lines for each request at DEBUG and TRACE, and a layer that prints
/// without a level shows them.
#[test]
fn every_snippet_that_prints_has_a_level() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md"), root.join("portal/README.md")];
    for folder in ["src", "docs", "examples"] {
        collect(&root.join(folder), &mut files);
    }
    let mut snippets = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let is_example = file.starts_with(root.join("examples"));
        let blocks: Vec<&str> = match is_example {
            true => vec![&text],
            // Code is between fences, in docs after `//!` or `///`.
            false => text.split("```").skip(1).step_by(2).collect(),
        };
        for block in blocks.iter().filter(|block| block.contains("fmt::layer()")) {
            snippets += 1;
            let has_level = block.contains(".with_filter(") || block.contains("EnvFilter");
            assert!(has_level, "{}: {block}", file.display());
        }
    }
    assert!(snippets >= 4, "{snippets}");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// The subscriber of the README, and what it prints.
#[test]
fn the_readmes_subscriber_prints_the_apps_lines_and_no_others() {
    if !is_child() {
        let name = "snippets::the_readmes_subscriber_prints_the_apps_lines_and_no_others";
        return in_child(name, &[]);
    }
    let portal = bizproc_portal::Portal::builder().start().unwrap();
    let (bizproc, guard) = quick(&portal).build().unwrap();
    let captured = Captured::default();
    let writer = captured.clone();
    let printed = tracing_subscriber::fmt::layer()
        .with_writer(move || writer.clone())
        .with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(printed).with(bizproc).init();
    let event_token = token(&portal.start_workflow("Order").open_activity("Fulfil"));
    info_span!("activity", event_token = event_token.as_field()).in_scope(|| info!("Card charged"));
    assert!(guard.shutdown_blocking(PATIENCE).is_complete());
    let text = captured.text();
    assert_eq!(text.lines().count(), 1, "{text}");
}
