//! Options as text: from a configuration file, or from the environment.

pub use crate::error::InvalidOption;
