//! The portal over real sockets, as an application meets it.

mod batch;
mod client;
mod faults;
mod handler;
mod limits;
mod oauth;
mod page;
mod rest;
mod tls;
mod workflows;
