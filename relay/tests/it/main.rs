//! The crate against a PostgreSQL server of the tests' own. Where the package is missing, the tests say that
//! they were skipped; they fail instead where `BIZPROC_REQUIRE_POSTGRES` is set.
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod database;
mod failures;
mod journal;
mod ownership;
mod permits;
mod pooler;
#[cfg(feature = "cli")]
mod program;
mod protocol;
mod proxy;
mod replicas;
mod rights;
mod store;
mod tls;
