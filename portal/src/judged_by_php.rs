//! Compares the portal's parsing of commands and bodies with PHP.
//!
//! Each test sends thousands of cases, made from a seed that a failure prints, through PHP and
//! through the portal, and wants the same of both. `BIZPROC_JUDGES_SEED` repeats a run and
//! `BIZPROC_JUDGES_CASES` makes it longer. Without PHP, the tests say that they were skipped, unless
//! `BIZPROC_REQUIRE_JUDGES=1` says that it must be there.

mod batches;
mod bodies;
#[expect(dead_code, reason = "the tests of the whole portal use the rest of it")]
#[path = "../tests/it/client.rs"]
mod client;
mod functions;
mod hostile;
mod oracle;
