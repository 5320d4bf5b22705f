//! The portal over real sockets, as an application meets it.

mod batch;
mod client;
mod faults;
mod page;
mod rest;
mod workflows;
