//! Options for the text of lines.

use std::any::{Any, TypeId};
use std::sync::Arc;

use super::Builder;
use crate::format::{Format, Full, Language, LineTime, MessageOnly, Story, Wording, Words};
use crate::journal::About;
use crate::line::Clock;
use crate::protocol::text::{Astral, push_safe};
use crate::stats::Stats;
use crate::worker::render::Renderer;

/// How the worker makes lines.
#[derive(Clone)]
pub(super) struct Lines {
    pub(super) time: LineTime,
    astral: Astral,
    /// `None`: [`Story`](crate::format::Story).
    format: Option<Arc<dyn Format>>,
    /// How exact the times have to be that the format may show.
    pub(super) clock: Clock,
    wording: Arc<dyn Wording>,
    /// `None`: it is a wording of the app.
    language: Option<Language>,
    prefix: String,
}

impl Default for Lines {
    fn default() -> Self {
        Lines {
            time: LineTime::default(),
            astral: Astral::Escape,
            format: None,
            clock: Clock::Coarse,
            wording: Arc::new(Language::default()),
            language: Some(Language::default()),
            prefix: String::new(),
        }
    }
}

impl Lines {
    pub(super) fn words(&self, stats: &Arc<Stats>) -> Words {
        Words::new(self.wording.clone(), self.time, self.astral, stats.clone())
    }

    pub(super) fn renderer(&self, words: Words, stats: &Arc<Stats>, line_bytes: usize) -> Renderer {
        Renderer::new(words, self.format.clone(), &self.prefix, line_bytes, stats.clone())
    }

    /// How another process writes these lines. `None`: only this one can.
    pub(super) fn about(&self) -> Option<About> {
        let Lines { time, prefix, .. } = self;
        let language = self.language?;
        Some(About { language, line_time: *time, line_prefix: prefix.clone(), waits_until: None })
    }

    pub(super) fn keeps_supplementary_characters(&self) -> bool {
        self.astral == Astral::Keep
    }

    /// How long the prefix is in the log, where some characters are written as their numbers.
    pub(super) fn prefix_bytes(&self) -> usize {
        let mut safe = String::new();
        push_safe(&mut safe, &self.prefix, self.astral);
        safe.len()
    }
}

/// These formats leave the time to what stands before a line, which shows seconds.
fn clock_for<F: Format>(_: &F) -> Clock {
    let seconds = [TypeId::of::<Story>(), TypeId::of::<MessageOnly>(), TypeId::of::<Full>()];
    if seconds.contains(&TypeId::of::<F>()) { Clock::Coarse } else { Clock::Exact }
}

/// How lines read: see [`format`](crate::format).
impl Builder {
    /// What a line shows of an event. Default: [`Story`](crate::format::Story), the message and the
    /// fields. It can be a closure: see [`Format`].
    ///
    /// ```
    /// use tracing_bizproc::format::MessageOnly;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // Messages are complete sentences, and the fields are for other logs.
    /// let builder = builder.format(MessageOnly);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn format(mut self, format: impl Format) -> Self {
        self.lines.clock = clock_for(&format);
        self.lines.format = Some(Arc::new(format));
        self
    }

    /// The words that this crate itself writes into the log. Default: [`Language::English`].
    ///
    /// ```
    /// use tracing_bizproc::format::Language;
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// let builder = builder.wording(Language::Russian);
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn wording(mut self, wording: impl Wording) -> Self {
        self.lines.language = (&wording as &dyn Any).downcast_ref::<Language>().copied();
        self.lines.wording = Arc::new(wording);
        self
    }

    /// How lines state their time. Default: [`LineTime::Viewer`].
    ///
    /// ```
    /// use tracing_bizproc::format::{LineTime, UtcOffset};
    ///
    /// # let builder = tracing_bizproc::disabled();
    /// // Moscow's time, wherever the log is read.
    /// let builder = builder.line_time(LineTime::Offset(UtcOffset::hours(3)));
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn line_time(mut self, time: LineTime) -> Self {
        self.lines.time = time;
        self
    }

    /// Text before each line, after its time: for example the name of the app, if several apps write to
    /// one log. Default: none. At most 200 bytes in the log.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// let builder = builder.line_prefix("shop: ");
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn line_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.lines.prefix = prefix.into();
        self
    }

    /// Writes characters above U+FFFF (emoji, mostly) as they are. Default: they are written as
    /// `\u{1F600}`, since installations whose tables are not `utf8mb4` may end the workflow over
    /// them. Cloud portals store them.
    ///
    /// ```
    /// # let builder = tracing_bizproc::disabled();
    /// // All portals of this app are in the cloud.
    /// let builder = builder.keep_supplementary_characters();
    /// # assert!(builder.build::<tracing_subscriber::Registry>().is_ok());
    /// ```
    pub fn keep_supplementary_characters(self) -> Self {
        self.supplementary_characters(true)
    }

    pub(super) fn supplementary_characters(mut self, keep: bool) -> Self {
        self.lines.astral = if keep { Astral::Keep } else { Astral::Escape };
        self
    }
}

/// A prefix stands in every line.
pub(super) const MOST_PREFIX: usize = 200;
