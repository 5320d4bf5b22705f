//! Settings as text, for the page and the command line.

use std::time::Duration;

use super::{
    Authorization, BlankSubscription, Charset, Condition, EventSend, Language, MissingMethods,
    OperatingLimit, OuterBatch, OwnEntries, Release, Retention, ServerTime, SqlMode, Statuses,
    Substitution, Tariff,
};

/// A kind of setting that can be written down.
pub(crate) trait Words: Sized {
    /// All that can be written; nothing if there is no end to it.
    const CHOICES: &[&str];
    /// What a value looks like.
    const SHAPE: &str;

    fn read(text: &str) -> Option<Self>;
    fn written(&self) -> String;
}

macro_rules! words {
    ($type:ident: $($word:literal = $value:ident),+ $(,)?) => {
        impl Words for $type {
            const CHOICES: &[&str] = &[$($word),+];
            const SHAPE: &str = "WORD";

            fn read(text: &str) -> Option<Self> {
                match text {
                    $($word => Some(Self::$value),)+
                    _ => None,
                }
            }

            fn written(&self) -> String {
                match self {
                    $(Self::$value => $word,)+
                }
                .to_owned()
            }
        }
    };
}

words!(Tariff: "unlimited" = Unlimited, "standard" = Standard, "enterprise" = Enterprise);
words!(Retention: "self_hosted" = SelfHosted, "cloud" = Cloud);
words!(Statuses: "documented" = Documented, "server" = Server);
words!(Substitution: "newer" = Newer, "older" = Older);
words!(SqlMode: "lax" = Lax, "strict" = Strict);
words!(Charset: "utf8mb4" = Utf8mb4, "utf8mb3" = Utf8mb3);
words!(OwnEntries: "none" = None, "activities" = Activities);
words!(EventSend: "at_once" = AtOnce, "background" = Background);
words!(Condition:
    "open" = Open,
    "deleted" = Deleted,
    "overloaded" = Overloaded,
    "without_rest" = WithoutRest,
    "without_bizproc" = WithoutBizproc,
    "https_only" = HttpsOnly,
    "cut_off" = CutOff,
);
words!(Language: "en" = En, "de" = De, "ru" = Ru);
words!(MissingMethods: "named" = Named, "not_found" = NotFound);
words!(BlankSubscription: "waits" = Waits, "goes_on" = GoesOn);
words!(Authorization: "shared" = Shared, "isolated" = Isolated);
words!(Release: "expiry" = Expiry, "ten_minutes" = TenMinutes, "ban" = Ban);
words!(OuterBatch: "unmetered" = Unmetered, "half_weight" = HalfWeight, "alone" = Alone);

/// Seconds, such as `0.25`.
impl Words for Duration {
    const CHOICES: &[&str] = &[];
    const SHAPE: &str = "SECONDS";

    fn read(text: &str) -> Option<Self> {
        Self::try_from_secs_f64(text.parse().ok()?).ok()
    }

    fn written(&self) -> String {
        self.as_secs_f64().to_string()
    }
}

impl Words for usize {
    const CHOICES: &[&str] = &[];
    const SHAPE: &str = "NUMBER";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn written(&self) -> String {
        self.to_string()
    }
}

impl Words for String {
    const CHOICES: &[&str] = &[];
    const SHAPE: &str = "TEXT";

    fn read(text: &str) -> Option<Self> {
        Some(text.to_owned())
    }

    fn written(&self) -> String {
        self.clone()
    }
}

impl Words for ServerTime {
    const CHOICES: &[&str] = &[];
    const SHAPE: &str = "measured|claimed:SECONDS|spent:SECONDS";

    fn read(text: &str) -> Option<Self> {
        let (kind, seconds) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "measured" => Some(Self::Measured),
            "claimed" => Duration::read(seconds).map(Self::Claimed),
            "spent" => Duration::read(seconds).map(Self::Spent),
            _ => None,
        }
    }

    fn written(&self) -> String {
        match self {
            Self::Measured => "measured".to_owned(),
            Self::Claimed(time) => format!("claimed:{}", time.written()),
            Self::Spent(time) => format!("spent:{}", time.written()),
        }
    }
}

/// `off`, or seconds, and behind commas how the limit lifts and how a batch is metered.
impl Words for Option<OperatingLimit> {
    const CHOICES: &[&str] = &[];
    const SHAPE: &str = "off|SECONDS[,RELEASE][,BATCH]";

    fn read(text: &str) -> Option<Self> {
        if text == "off" {
            return Some(None);
        }
        let mut parts = text.split(',').map(str::trim);
        let mut limit = OperatingLimit::new(Duration::read(parts.next()?)?);
        for part in parts {
            limit = match (Release::read(part), OuterBatch::read(part)) {
                (Some(release), _) => limit.release(release),
                (_, Some(outer_batch)) => limit.outer_batch(outer_batch),
                _ => return None,
            };
        }
        Some(Some(limit))
    }

    fn written(&self) -> String {
        let Some(limit) = self else { return "off".to_owned() };
        let standard = OperatingLimit::new(limit.limit);
        let mut text = limit.limit.written();
        if limit.release != standard.release {
            text += &format!(",{}", limit.release.written());
        }
        if limit.outer_batch != standard.outer_batch {
            text += &format!(",{}", limit.outer_batch.written());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["off", "480", "0.5", "480,expiry", "1,ten_minutes,unmetered"] {
            let read = Option::<OperatingLimit>::read(text).unwrap();
            assert_eq!(read.written(), text);
        }
        for text in ["measured", "claimed:2", "spent:0.25"] {
            assert_eq!(ServerTime::read(text).unwrap().written(), text);
        }
        for word in Condition::CHOICES {
            assert_eq!(Condition::read(word).unwrap().written(), *word);
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_read() {
        assert!(Option::<OperatingLimit>::read("480,never").is_none());
        assert!(Duration::read("-1").is_none() && Duration::read("NaN").is_none());
        assert!(ServerTime::read("spent").is_none() && Tariff::read("Standard").is_none());
    }
}
