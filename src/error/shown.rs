//! How errors look in Debug: as their text.
//!
//! A `main` that returns an error prints its Debug, and so does `unwrap`. There the text says what to do, and the names
//! of variants do not.

use std::error::Error;
use std::fmt;

use super::{
    ActivityRejection, BuildError, CallError, CompleteError, ConfigError, DateFormatError,
    EndpointError, InstallError, InvalidEventToken, InvalidOption, OAuthError, PropertyError,
    RegistrationError, RequestError, TransportError, VerifyError, WebhookError, WorkerError,
};

macro_rules! debug_is_the_text {
    ($($of:ty),* $(,)?) => {$(
        /// The text, with its sources.
        impl fmt::Debug for $of {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write(self, f)
            }
        }
    )*};
}

debug_is_the_text!(
    ActivityRejection,
    BuildError,
    CallError,
    CompleteError,
    ConfigError,
    DateFormatError,
    EndpointError,
    InstallError,
    InvalidEventToken,
    InvalidOption,
    OAuthError,
    PropertyError,
    RegistrationError,
    RequestError,
    TransportError,
    VerifyError,
    WebhookError,
    WorkerError,
);

#[cfg(feature = "spool")]
debug_is_the_text!(super::SpoolError);

/// Writes the text of an error and of its sources, except where it repeats them.
fn write(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = error.to_string();
    f.write_str(&text)?;
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            write!(f, ": {next}")?;
        }
        (text, source) = (next, error.source());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Webhook;

    /// Regression: `Error: NotSet { variable: "BITRIX24_WEBHOOK_URL" }` was all that a `main` printed.
    #[test]
    fn debug_says_what_to_do_and_why() {
        let error = Webhook::new("https://b24.example/rest/1/s3cret/profile.json").unwrap_err();
        let shown = format!("{error:?}");
        assert!(shown.contains("remove the name of the method"), "{shown}");
        assert!(!shown.contains("s3cret"));
        let error = BuildError::Transport(TransportError::ExtraRoots("no PEM".into()));
        let shown = format!("{error:?}");
        assert_eq!(shown, format!("{}: no PEM", TransportError::ExtraRoots("no PEM".into())));
        let error = InstallError::Store("the disk is full".into());
        assert!(format!("{error:?}").ends_with(": the disk is full"), "{error:?}");
    }
}
