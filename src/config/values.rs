//! Values of options as text, for types of other modules.

use std::fmt::{self, Display};
use std::str::FromStr;

use super::duration;
use crate::error::InvalidOption;
use crate::queue::Overflow;
use crate::worker::rate::Quota;
use crate::worker::retry::UnknownOutcome;
use crate::worker::schedule::Retention;

/// `standard`, `enterprise`, `unlimited`, or `1.5/s burst 25`.
impl FromStr for Quota {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let custom = || {
            let [rate, "burst", burst] = words(text)? else { return None };
            let per_second = rate.strip_suffix("/s")?.parse().ok()?;
            let quota = Quota::Custom { per_second, burst: burst.parse().ok()? };
            quota.is_valid().then_some(quota)
        };
        match text.to_ascii_lowercase().as_str() {
            "standard" => Ok(Quota::Standard),
            "enterprise" => Ok(Quota::Enterprise),
            "unlimited" => Ok(Quota::Unlimited),
            _ => custom().ok_or_else(|| {
                let expected = "standard, enterprise, unlimited, or a rate such as 1.5/s burst 25";
                InvalidOption::new(text, expected)
            }),
        }
    }
}

impl Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quota::Standard => f.write_str("standard"),
            Quota::Enterprise => f.write_str("enterprise"),
            Quota::Unlimited => f.write_str("unlimited"),
            Quota::Custom { per_second, burst } => write!(f, "{per_second}/s burst {burst}"),
        }
    }
}

/// `cloud`, `self-hosted`, or `keep 50 base 1s growth 1.3`.
impl FromStr for Retention {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let custom = || {
            let ["keep", kept, "base", base, "growth", growth] = words(text)? else { return None };
            let (kept, growth) = (kept.parse().ok()?, growth.parse().ok()?);
            let retention = Retention::Custom { kept, base: duration::parse(base)?, growth };
            retention.is_valid().then_some(retention)
        };
        match text.to_ascii_lowercase().as_str() {
            "cloud" => Ok(Retention::Cloud),
            "self-hosted" => Ok(Retention::SelfHosted),
            _ => custom().ok_or_else(|| {
                let expected = "cloud, self-hosted, or numbers such as keep 50 base 1s growth 1.3";
                InvalidOption::new(text, expected)
            }),
        }
    }
}

impl Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retention::Cloud => f.write_str("cloud"),
            Retention::SelfHosted => f.write_str("self-hosted"),
            Retention::Custom { kept, base, growth } => {
                write!(f, "keep {kept} base ")?;
                duration::write(f, *base)?;
                write!(f, " growth {growth}")
            }
        }
    }
}

/// `drop-newest`, `drop-oldest`, or `block 100ms`.
impl FromStr for Overflow {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let text = text.trim();
        match text.to_ascii_lowercase().as_str() {
            "drop-newest" => Ok(Overflow::DropNewest),
            "drop-oldest" => Ok(Overflow::DropOldest),
            lower => {
                let time = lower.strip_prefix("block ").and_then(duration::parse);
                time.map(Overflow::Block).ok_or_else(|| {
                    InvalidOption::new(text, "drop-newest, drop-oldest, or block 100ms")
                })
            }
        }
    }
}

impl Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Overflow::DropNewest => f.write_str("drop-newest"),
            Overflow::DropOldest => f.write_str("drop-oldest"),
            Overflow::Block(time) => {
                f.write_str("block ")?;
                duration::write(f, *time)
            }
        }
    }
}

/// `repeat` or `give-up`.
impl FromStr for UnknownOutcome {
    type Err = InvalidOption;

    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        match text.to_ascii_lowercase().as_str() {
            "repeat" => Ok(UnknownOutcome::Repeat),
            "give-up" => Ok(UnknownOutcome::GiveUp),
            _ => Err(InvalidOption::new(text, "repeat or give-up")),
        }
    }
}

impl Display for UnknownOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnknownOutcome::Repeat => "repeat",
            UnknownOutcome::GiveUp => "give-up",
        })
    }
}

/// The words of a text, if it has exactly this number of words.
fn words<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split_whitespace().collect::<Vec<_>>().try_into().ok()
}
