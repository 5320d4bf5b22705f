//! Tests of the crate with a PostgreSQL server that the tests start. If the package of PostgreSQL is missing, the
//! tests print that they are skipped. If `BIZPROC_REQUIRE_POSTGRES` is set, they fail instead.
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
