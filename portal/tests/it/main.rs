//! The portal over real sockets, as an application meets it.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic, as tests may")]

mod api;
mod application;
mod apps;
mod arrows;
mod batch;
mod client;
mod connections;
mod faults;
mod handler;
mod hostile;
mod languages;
mod limits;
mod names;
mod oauth;
mod page;
mod program;
mod readme;
mod rest;
mod tls;
mod workflows;
