//! Reports of requests that were rejected or have failed, each kind at most once a minute.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::InstallError;
use crate::handle::after;
use crate::line::PortalId;

/// What was reported, whether it was our own failure, and when.
#[derive(Default)]
pub(super) struct Reports {
    told: Mutex<HashMap<(&'static str, bool), Instant>>,
}

impl Reports {
    /// Reports an error. A handler may answer with it, and log nothing.
    pub(super) fn reported<T>(
        &self,
        what: &'static str,
        portal: &PortalId,
        result: Result<T, InstallError>,
    ) -> Result<T, InstallError> {
        if let Err(error) = &result {
            let ours = matches!(
                error,
                InstallError::Store(_)
                    | InstallError::Registration(_)
                    | InstallError::TokensRemain { .. }
                    | InstallError::Raced
                    | InstallError::Worker(_)
            );
            // Debug has the sources, too.
            self.tell(what, ours, portal, &format_args!("{error:?}"));
        }
        result
    }

    /// Reports a request that failed, each kind at most once a minute, because anybody can post any number of
    /// requests that fail the checks. Those do not silence the failures that are `ours`.
    pub(super) fn tell(
        &self,
        what: &'static str,
        ours: bool,
        portal: &PortalId,
        why: &dyn fmt::Display,
    ) {
        let now = after(Duration::ZERO);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let last = told.get(&(what, ours));
        if last.is_some_and(|&at| now.saturating_duration_since(at) < SILENCE) {
            return;
        }
        told.insert((what, ours), now);
        drop(told);
        let portal: String = portal.as_str().chars().filter(|c| c.is_ascii_graphic()).collect();
        tracing::warn!(
            target: "tracing_bizproc",
            parent: None,
            portal = &portal[..portal.len().min(64)],
            %why,
            "{what} {}",
            if ours { "failed" } else { "rejected" }
        );
    }
}

/// How long a kind of report is not repeated.
pub(in crate::handle) const SILENCE: Duration = Duration::from_secs(60);
