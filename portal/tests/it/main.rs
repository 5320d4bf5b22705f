//! The portal over real sockets, as an application meets it.

mod batch;
mod client;
mod faults;
mod rest;
mod workflows;
