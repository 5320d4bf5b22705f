//! At the limit of threads, `build` returns an error, and does not panic.

use std::error::Error;

use tracing_bizproc::BizprocLayer;
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::error::BuildError;
use tracing_subscriber::Registry;

use crate::stage::{in_child, is_child};

/// The size of stacks is larger than any memory, so no thread can be started.
const NO_THREADS: (&str, &str) = ("RUST_MIN_STACK", "1152921504606846976");

/// Regression: the caller dropped the worker's runtime, which panics inside of a runtime.
#[test]
fn build_without_a_thread_is_an_error_also_inside_of_a_runtime() {
    if !is_child() {
        let name = "threads::build_without_a_thread_is_an_error_also_inside_of_a_runtime";
        return in_child(name, &[NO_THREADS]);
    }
    let build = || {
        let webhook = Webhook::new("http://127.0.0.1:9/rest/1/s3cr3t/").unwrap();
        tracing_bizproc::builder(webhook).build().map(|built: (BizprocLayer<Registry>, _)| built.1)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for error in [runtime.block_on(async { build() }).unwrap_err(), build().unwrap_err()] {
        assert!(matches!(error, BuildError::Thread(_)), "{error:?}");
        assert!(error.to_string().contains("limit of threads") && error.source().is_some());
    }
}
