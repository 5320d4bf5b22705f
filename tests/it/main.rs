//! Tests of the public API against the stand-in portal, one file for each behaviour.
#![expect(clippy::unwrap_used, reason = "a test that fails says where")]
#![expect(clippy::disallowed_methods, reason = "patience is measured by the real clock")]

mod activity;
mod api;
mod app;
mod arrows;
mod calls;
mod completion;
mod config;
mod delivery;
mod ends;
mod flush;
#[cfg(unix)]
mod fork;
mod guard;
mod hidden;
mod idle;
mod languages;
mod life;
mod limits;
mod log_only;
mod log_records;
mod loops;
mod overload;
mod own_thread;
mod panics;
mod portals;
#[cfg(feature = "relay")]
mod publish;
mod reading;
mod reports;
mod secrets;
mod seeds;
mod selecting;
#[cfg(feature = "spool")]
mod short_lived;
mod shutdown;
#[cfg(unix)]
mod signals;
mod simulation;
mod snippets;
#[cfg(feature = "spool")]
mod spool;
mod stage;
mod text;
mod threads;
mod traps;
mod trouble;
mod watched;
