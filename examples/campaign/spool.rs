//! The spool of the app, with the feature `spool`.

use std::error::Error;
use std::path::PathBuf;

use bizproc_campaign::Folder;
use tracing_bizproc::Builder;
use tracing_bizproc::auth::Webhook;

use crate::options::Options;

/// Whether there is one to be had.
pub(crate) const IS_THERE: bool = cfg!(feature = "spool");

/// Where it is, in the folder of the campaign.
pub(crate) fn in_folder(folder: &Folder) -> PathBuf {
    folder.path().join("spool")
}

/// Gives the app the spool that the options ask for.
#[cfg(feature = "spool")]
pub(crate) fn with(builder: Builder, folder: &Folder, options: &Options) -> Builder {
    use tracing_bizproc::spool::{Durability, Spool};

    if !options.spool {
        return builder;
    }
    let durability = if options.fsync { Durability::Fsync } else { Durability::Buffered };
    let spool = Spool::new(in_folder(folder)).durability(durability).bound(options.bound);
    builder.spool(spool)
}

#[cfg(not(feature = "spool"))]
pub(crate) fn with(builder: Builder, _folder: &Folder, _options: &Options) -> Builder {
    builder
}

/// Delivers what processes have left there.
#[cfg(feature = "spool")]
pub(crate) fn drain(
    folder: &Folder,
    webhook: Webhook,
    options: &Options,
) -> Result<(), Box<dyn Error>> {
    let builder = with(tracing_bizproc::builder(webhook), folder, options);
    let stats = builder.drain_blocking(std::time::Duration::from_secs(120))?;
    println!("drained: {stats}");
    Ok(())
}

#[cfg(not(feature = "spool"))]
pub(crate) fn drain(
    _folder: &Folder,
    _webhook: Webhook,
    _options: &Options,
) -> Result<(), Box<dyn Error>> {
    Ok(())
}
