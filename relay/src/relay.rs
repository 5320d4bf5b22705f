//! A process that delivers for many replicas.

mod journal;

pub use self::journal::RelayJournal;
