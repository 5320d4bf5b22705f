//! The option that keeps lines beyond the process, and its checks.

use std::sync::Arc;
use std::time::Duration;

use super::Builder;
#[cfg(feature = "spool")]
use super::{ReportSink, YEAR};
use crate::error::BuildError;
use crate::journal::{Journal, Publisher};
#[cfg(feature = "spool")]
use crate::spool::Spool;
#[cfg(feature = "spool")]
use crate::stats::Snapshot;
use crate::transport::auth::Credentials;

/// A journal, and how it is used.
#[derive(Clone)]
pub(crate) struct Keeping {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) publisher: Publisher,
    /// How long a line may wait until it is stored.
    pub(crate) bound: Duration,
    /// How long delivery keeps trying, in place of `max_age`.
    pub(crate) max_age: Duration,
    pub(crate) role: Role,
    /// A journal on this machine, which stores everything first.
    pub(crate) near: Option<Arc<dyn Journal>>,
}

/// What this process does with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It stores its lines there until it has delivered them.
    #[cfg_attr(
        not(any(test, feature = "spool")),
        expect(dead_code, reason = "only a spool does so")
    )]
    Keep,
    /// It appends its lines, and another process delivers them.
    Publish,
    /// It delivers what other processes have appended.
    #[cfg_attr(
        not(any(test, feature = "relay")),
        expect(dead_code, reason = "only a relay does so")
    )]
    Deliver,
}

/// Where the journal comes from.
#[derive(Clone, Default)]
pub(super) enum Keep {
    /// Nothing outlives the process.
    #[default]
    Nothing,
    #[cfg(any(test, feature = "relay"))]
    Journal(Keeping),
    #[cfg(feature = "spool")]
    Spool(Spool),
    /// An option was set that has no effect.
    Wrong { option: &'static str, problem: &'static str },
}

/// Options of a spool that were given as text.
pub(super) struct SpoolOptions {
    pub(super) dir: Option<String>,
    pub(super) fsync: Option<bool>,
    pub(super) bound: Option<Duration>,
    pub(super) max_bytes: Option<usize>,
    pub(super) max_age: Option<Duration>,
}

impl Keep {
    fn lasts(&self) -> bool {
        !matches!(self, Keep::Nothing | Keep::Wrong { .. })
    }

    /// How long delivery keeps trying.
    pub(super) fn max_age(&self) -> Option<Duration> {
        match self {
            Keep::Nothing | Keep::Wrong { .. } => None,
            #[cfg(any(test, feature = "relay"))]
            Keep::Journal(keeping) => Some(keeping.max_age),
            #[cfg(feature = "spool")]
            Keep::Spool(spool) => Some(spool.line_age()),
        }
    }

    /// How long a line may wait until it is stored.
    pub(super) fn bound(&self) -> Option<Duration> {
        match self {
            Keep::Nothing | Keep::Wrong { .. } => None,
            #[cfg(any(test, feature = "relay"))]
            Keep::Journal(keeping) => Some(keeping.bound),
            #[cfg(feature = "spool")]
            Keep::Spool(spool) => Some(spool.line_bound()),
        }
    }

    /// Opens it for one run.
    pub(super) fn open(&self) -> Result<Option<Keeping>, BuildError> {
        match self {
            Keep::Nothing | Keep::Wrong { .. } => Ok(None),
            #[cfg(any(test, feature = "relay"))]
            Keep::Journal(keeping) => Ok(Some(keeping.clone())),
            #[cfg(feature = "spool")]
            Keep::Spool(spool) => {
                let publisher = Publisher(super::random());
                let journal = Arc::new(spool.open(publisher)?);
                let (bound, max_age) = (spool.line_bound(), spool.line_age());
                let role = Role::Keep;
                let near = None;
                Ok(Some(Keeping { journal, publisher, bound, max_age, role, near }))
            }
        }
    }
}

impl Builder {
    /// Keeps lines and ends of activities in files until they are acknowledged, late or lost. They survive
    /// every end of the process, and the next run delivers them. Default: none; then pending lines are lost
    /// with the process.
    ///
    /// A line is on disk within the spool's [`bound`](Spool::bound). A separate thread writes it, so callers
    /// never wait for the disk. `pending_lines`, `pending_bytes` and `portal_share` limit the lines in
    /// memory, and the spool's [`max_bytes`](Spool::max_bytes) limits the disk. How long the delivery of a line
    /// is tried is an option of the spool, too: [`Spool::max_age`]. [`max_age`](Self::max_age) of the builder
    /// beside a spool is an error of `build`. If the disk fails or is slow, delivery goes on from memory, and this is
    /// reported.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let webhook = tracing_bizproc::auth::Webhook::new("https://b24.example/rest/1/secret/")?;
    /// # let dir = std::env::temp_dir().join(format!("bizproc-doc-{}", std::process::id()));
    /// use tracing_bizproc::spool::Spool;
    ///
    /// let builder = tracing_bizproc::builder(webhook).spool(Spool::new(&dir));
    /// # let (layer, guard) = builder.build()?;
    /// # let _: Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry>> = Box::new(layer);
    /// # drop(guard);
    /// # std::fs::remove_dir_all(dir)?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "spool")]
    #[cfg_attr(docsrs, doc(cfg(feature = "spool")))]
    pub fn spool(mut self, spool: Spool) -> Self {
        self.keep = Keep::Spool(spool);
        self
    }

    /// Delivers the lines of earlier runs in the [`spool`](Self::spool), for at most `timeout`, and returns the
    /// counters: [`recovered`](Snapshot::recovered) lines were found, and lines that are still
    /// [`pending`](Snapshot::pending) stay on disk. Ends of activities are sent, too, but these counters are only about
    /// lines: [`late_ends`](Snapshot::late_ends) says how many ends came too late. Blocks the calling thread.
    ///
    /// For short-lived processes, which may end with lines on disk: a job delivers them later. Lines of runs
    /// that are still alive are not touched.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tracing_bizproc::auth::Webhook;
    /// use tracing_bizproc::spool::Spool;
    ///
    /// let spool = Spool::new("/var/lib/orders/bizproc");
    /// let builder = tracing_bizproc::builder(Webhook::from_env()?).spool(spool);
    /// let stats = builder.drain_blocking(Duration::from_secs(60))?;
    /// println!("{} delivered, {} left", stats.acknowledged(), stats.pending());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The same as for [`build`](Self::build). Also an error if there is no spool.
    #[cfg(feature = "spool")]
    #[cfg_attr(docsrs, doc(cfg(feature = "spool")))]
    pub fn drain_blocking(self, timeout: Duration) -> Result<Snapshot, BuildError> {
        if !self.keep.lasts() {
            let (option, problem) = ("spool", "is not set: there is nothing to drain");
            return Err(BuildError::Option { option, problem });
        }
        let (_producer, guard) = self.start(ReportSink::default())?;
        let handle = guard.handle();
        // The counters say what became of the lines.
        guard.shutdown_blocking(timeout.min(YEAR));
        Ok(handle.stats())
    }

    /// Keeps lines in this journal.
    #[cfg(any(test, feature = "relay"))]
    pub(crate) fn keeping(mut self, keeping: Keeping) -> Self {
        self.keep = Keep::Journal(keeping);
        self
    }

    /// Checks the options for keeping lines.
    pub(super) fn check_keep(&self) -> Result<(), BuildError> {
        let wrong = |option, problem| Err(BuildError::Option { option, problem });
        if let Keep::Wrong { option, problem } = self.keep {
            return wrong(option, problem);
        }
        let forgets = |credentials: &Credentials| matches!(credentials, Credentials::OAuth(app) if !app.lasts());
        if self.keep.lasts() && self.credentials.as_ref().is_some_and(forgets) {
            return wrong(
                "spool",
                "needs a token store that outlives the process, such as `FileStore`: without tokens the \
                 next run cannot deliver what is on disk",
            );
        }
        if self.keep.lasts() && self.max_age.is_some() {
            return wrong(
                "max_age",
                "has no effect with a spool: set `max_age` of the spool (`spool.max_age`) instead",
            );
        }
        if self.keep.bound().is_some_and(|bound| bound.is_zero() || bound > LONGEST_BOUND) {
            return wrong("spool", "needs a `bound` above 0 and at most 1 minute");
        }
        Ok(())
    }

    /// Applies options of a spool that were given as text.
    pub(super) fn spool_options(mut self, options: SpoolOptions) -> Self {
        let SpoolOptions { dir, fsync, bound, max_bytes, max_age } = options;
        let others = [
            ("spool.fsync", fsync.is_some()),
            ("spool.bound", bound.is_some()),
            ("spool.max_bytes", max_bytes.is_some()),
            ("spool.max_age", max_age.is_some()),
        ];
        let other = others.into_iter().find(|(_, given)| *given).map(|(option, _)| option);
        #[cfg(feature = "spool")]
        {
            use crate::spool::Durability;

            if let Some(dir) = dir {
                self.keep = Keep::Spool(Spool::new(dir));
            }
            match (&mut self.keep, other) {
                (Keep::Spool(spool), _) => {
                    let mut changed = spool.clone();
                    if let Some(fsync) = fsync {
                        let durability =
                            if fsync { Durability::Fsync } else { Durability::Buffered };
                        changed = changed.durability(durability);
                    }
                    if let Some(bound) = bound {
                        changed = changed.bound(bound);
                    }
                    if let Some(bytes) = max_bytes {
                        changed = changed.max_bytes(bytes as u64);
                    }
                    if let Some(age) = max_age {
                        changed = changed.max_age(age);
                    }
                    *spool = changed;
                }
                (_, Some(option)) => {
                    let problem = "has no effect without `spool.dir`";
                    self.keep = Keep::Wrong { option, problem };
                }
                (_, None) => {}
            }
        }
        #[cfg(not(feature = "spool"))]
        if let Some(option) = dir.map(|_| "spool.dir").or(other) {
            let problem = "needs the feature `spool` of tracing-bizproc";
            self.keep = Keep::Wrong { option, problem };
        }
        self
    }
}

/// The largest bound. A longer one would be no useful promise.
const LONGEST_BOUND: Duration = Duration::from_secs(60);
