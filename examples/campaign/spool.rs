//! The spool of the app, with the feature `spool`.

use std::error::Error;
use std::path::{Path, PathBuf};

use tracing_bizproc::Builder;
use tracing_bizproc::auth::Webhook;

use crate::options::Options;

/// Whether there is one to be had.
pub(crate) const IS_THERE: bool = false;

/// Where it is, in the directory of the campaign.
pub(crate) fn in_directory(directory: &Path) -> PathBuf {
    directory.join("spool")
}

/// Gives the app the spool that the options ask for.
pub(crate) fn with(builder: Builder, _directory: &Path, _options: &Options) -> Builder {
    builder
}

/// Delivers what processes have left there.
pub(crate) fn drain(_directory: &Path, _webhook: Webhook) -> Result<(), Box<dyn Error>> {
    Ok(())
}
