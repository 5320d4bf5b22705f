//! The option that publishes lines to a journal from which a relay delivers them, and its checks.

use std::sync::Arc;
use std::time::Duration;

use super::keeping::{Keeping, Role};
use super::{Builder, PORTAL_SHARE, random, with_defaults};
use crate::error::BuildError;
use crate::journal::desk::Desk;
use crate::journal::driver::Driver;
use crate::journal::{Journal, Publisher};
use crate::transport::auth::Credentials;
use crate::worker::engine::Engine;

impl Builder {
    /// Publishes lines and ends of activities to a journal that other processes read: relays deliver them. For
    /// apps with several replicas. They share the limits of each portal, and only the owner of a portal can keep
    /// them. Default: this process delivers.
    ///
    /// With the crate `tracing-bizproc-relay` the journal is a PostgreSQL database. The layer, the limits of
    /// memory and the counters do not change. What changes:
    ///
    /// - Lines end as [handed over](crate::stats::Snapshot::handed_over) when the journal has stored them, after
    ///   about 50 ms. Lines that a replica had accepted in that time are lost if it is killed.
    /// - [`flush`](crate::Handle::flush) returns when the journal has stored the lines, and
    ///   [`flush_delivered`](crate::Handle::flush_delivered) when a relay has delivered them.
    /// - Ends of activities go through the journal, too, and the relay's answer comes back. If there is none 10 s
    ///   after the timeout of the completion, or if the journal has not stored the end by then, this process ends
    ///   the activity by itself. Its credentials are used for that, and tokens that come with requests go into
    ///   their store. So the store must be the relay's, too.
    /// - [`call`](crate::Handle::call) returns an [error](crate::error::CallError::Publishes). The few calls that
    ///   [`Installations`](crate::app::Installations) makes when the app is installed or updated are sent: they fit
    ///   into the part of a portal's limit that relays leave free.
    /// - If the journal cannot be reached, lines wait in memory: up to [`pending_lines`](Self::pending_lines) and
    ///   `pending_bytes`, and for [`max_age`](Self::max_age), which is 24 hours by default here.
    ///
    /// The schedule of entries belongs to the relay, so options for it are an error here: `linger`, `max_hold`,
    /// `retention`, `entry_bytes`, `send_at_once_from`, `portal_share`, `on_unknown_outcome` and
    /// `keep_supplementary_characters`. The format runs in this process. Its language, its time and its prefix go
    /// with the lines, so a [`wording`](Self::wording) must be a [`Language`](crate::format::Language).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
    /// use tracing_bizproc::journal::Journal;
    /// use tracing_subscriber::prelude::*;
    ///
    /// /// `PgJournal` of tracing-bizproc-relay is one.
    /// fn log_to(
    ///     webhook: tracing_bizproc::auth::Webhook,
    ///     journal: impl Journal,
    /// ) -> Result<tracing_bizproc::WorkerGuard, tracing_bizproc::error::BuildError> {
    ///     let (bizproc, guard) = tracing_bizproc::builder(webhook).publish_to(journal).build()?;
    ///     tracing_subscriber::registry().with(bizproc).init();
    ///     Ok(guard)
    /// }
    /// # drop(webhook);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "relay")]
    #[cfg_attr(docsrs, doc(cfg(feature = "relay")))]
    pub fn publish_to(mut self, journal: impl Journal) -> Self {
        self.publish = Some(Arc::new(journal));
        self
    }

    /// Returns the journal to which lines of one run are published.
    pub(super) fn open_published(&self, journal: Arc<dyn Journal>) -> Result<Keeping, BuildError> {
        let kept = self.keep.open()?;
        let bound = self.keep.bound().map_or(BOUND, |bound| bound.min(BOUND));
        let publisher = kept.as_ref().map_or_else(|| Publisher(random()), |kept| kept.publisher);
        let near = kept.map(|kept| kept.journal);
        let (max_age, role) = (self.line_age(), Role::Publish);
        Ok(Keeping { journal, publisher, bound, max_age, role, near })
    }

    /// Sets up an engine that publishes, and creates the driver of its journals.
    pub(super) fn publishing(&self, keeping: Keeping, engine: &mut Engine) -> (Desk, Driver) {
        let Keeping { journal, publisher, bound, max_age, near, .. } = keeping;
        let style = self.lines.about().unwrap_or_default();
        engine.publish_as(publisher, style.clone(), bound / 4, max_age, near.is_some());
        let (desk, driver) = Driver::posting(journal, publisher);
        match near {
            Some(near) => (desk, driver.by_way_of(near, Publisher(random()), style)),
            None => (desk, driver),
        }
    }

    /// Checks the options for publishing.
    pub(super) fn check_publishing(&self) -> Result<(), BuildError> {
        if self.publish.is_none() {
            return Ok(());
        }
        let wrong = |option, problem| Err(BuildError::Option { option, problem });
        let share = match self.credentials {
            None | Some(Credentials::Webhook(_)) => 1.0,
            Some(Credentials::OAuth(_) | Credentials::Provider(_)) => PORTAL_SHARE,
        };
        let plain = with_defaults(None, share);
        let without_effect = [
            ("linger", self.linger != plain.linger),
            ("max_hold", self.max_hold != plain.max_hold),
            ("retention", self.retention != plain.retention),
            ("entry_bytes", self.entry_bytes != plain.entry_bytes),
            ("send_at_once_from", self.ahead_from != plain.ahead_from),
            ("portal_share", self.portal_share != plain.portal_share),
            ("on_unknown_outcome", self.retry.on_unknown != plain.retry.on_unknown),
            ("keep_supplementary_characters", self.lines.keeps_supplementary_characters()),
        ];
        if let Some((option, _)) = without_effect.into_iter().find(|(_, set)| *set) {
            return wrong(option, "has no effect with `publish_to`: set it for the relay");
        }
        if self.lines.about().is_none() {
            return wrong(
                "wording",
                "must be a `Language` with `publish_to`: a wording of your own cannot go to the relay",
            );
        }
        if matches!(&self.credentials, Some(Credentials::OAuth(app)) if !app.lasts()) {
            return wrong(
                "publish_to",
                "needs a token store that the relay reads, too: it delivers with the tokens in it",
            );
        }
        Ok(())
    }
}

/// How long a line may wait until it is handed to the journal.
pub(super) const BOUND: Duration = Duration::from_millis(80);
/// Default of `max_age` for lines that are published.
pub(super) const MAX_AGE: Duration = Duration::from_secs(86_400);
