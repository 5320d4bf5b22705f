#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod connection;
mod error;
mod migrate;
mod store;
mod tls;

pub use config::PgConfig;
pub use error::PgError;
pub use store::PgStore;
