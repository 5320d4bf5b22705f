//! What a setting can be.

use std::time::Duration;

use crate::clock::UnixTime;

/// The plan of the portal, which sets its rate limit (REST API limits, "Leaky Bucket").
///
/// The limit counts HTTP hits per portal and source IP; a batch is one hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tariff {
    /// Every plan but Enterprise: a bucket of 50 hits that drains by 2 a second.
    Standard,
    /// Enterprise: a bucket of 250 hits that drains by 5 a second.
    Enterprise,
    /// A self-hosted portal: no rate limit. The default, so that a test meets a limit only if it
    /// asks for one.
    #[default]
    Unlimited,
}

impl Tariff {
    /// Hits that the bucket holds, and hits that drain from it in a second.
    pub(crate) fn bucket(self) -> Option<(f64, f64)> {
        match self {
            Self::Standard => Some((50.0, 2.0)),
            Self::Enterprise => Some((250.0, 5.0)),
            Self::Unlimited => None,
        }
    }
}

/// How long the process log keeps its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// The newest 50 entries of a workflow, the portal's own included (server behaviour).
    Cloud,
    /// Everything. The default.
    #[default]
    SelfHosted,
}

/// Which HTTP statuses errors come with, where documentation and server differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Statuses {
    /// Those of the documentation.
    #[default]
    Documented,
    /// Those of the server's source.
    Server,
}

/// What a batch does with `$result[..]` and its kind inside the text of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Substitution {
    /// Only strings and numbers replace a reference. The default.
    #[default]
    Newer,
    /// Everything replaces it: `true` as `1`, nothing as an empty text; an array kills the batch,
    /// with the commands before it done.
    Older,
}

/// What the database does with text that it cannot hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SqlMode {
    /// The text is cut. The default.
    #[default]
    Lax,
    /// The write fails, and the failure terminates the workflow (server behaviour).
    Strict,
}

/// Which characters the database can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charset {
    /// All of Unicode. The default.
    #[default]
    Utf8mb4,
    /// None that takes four bytes, such as an emoji: what follows depends on the [`SqlMode`].
    Utf8mb3,
}

/// How much server time a command takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerTime {
    /// As much as it takes here, which is next to nothing. The default.
    #[default]
    Measured,
    /// Each command is said, and charged, to have taken this long; nobody waits for it.
    Claimed(Duration),
    /// Each command takes this long, and holds the lock of its workflow meanwhile.
    Spent(Duration),
}

/// What `bizproc.event.send` does before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventSend {
    /// It completes the activity, and its answer says what became of that: "423", "404", ..
    /// (older servers). The default.
    #[default]
    AtOnce,
    /// It checks the token, leaves the rest to a background job, and answers `true` (the newest
    /// public source).
    ///
    /// The job runs after the hit: lines of the same batch come before the end wherever they
    /// stand. A job that fails changes nothing and tells nobody; here it is found in
    /// [`Workflow::lost`](crate::Workflow::lost). With [`ServerTime::Spent`] the job holds the
    /// lock of its workflow after the answer, so that a hit right behind meets "423".
    Background,
}

impl ServerTime {
    /// How long a command holds the lock of its workflow, if it does.
    pub(crate) fn spent(self) -> Option<Duration> {
        match self {
            Self::Spent(duration) => Some(duration),
            Self::Measured | Self::Claimed(_) => None,
        }
    }
}

/// Whether a portal as such answers, and what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It does. The default.
    #[default]
    Open,
    /// It was closed: PORTAL_DELETED.
    Deleted,
    /// The vendor has blocked its REST: OVERLOAD_LIMIT.
    Overloaded,
    /// Its plan has no REST: ACCESS_DENIED for a whole hit.
    WithoutRest,
    /// Its plan has no business processes: ERROR_METHOD_NOT_FOUND for their methods.
    WithoutBizproc,
    /// It takes calls by https only: INVALID_REQUEST otherwise.
    HttpsOnly,
    /// It cannot reach the authorization server: CONNECTION_ERROR for access tokens.
    CutOff,
}

/// The language of the portal: what applications are told, and how dates are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Language {
    /// English: `11/27/2026 02:10:05 pm`. The default.
    #[default]
    En,
    /// German: `27.11.2026 14:10:05`.
    De,
    /// Russian: `27.11.2026 14:10:05`.
    Ru,
}

impl Language {
    /// Its id, as applications are told it.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::De => "de",
            Self::Ru => "ru",
        }
    }

    /// A day, in the format of the site.
    pub(crate) fn date(self, time: UnixTime) -> String {
        let (year, month, day) = time.day();
        match self {
            Self::En => format!("{month:02}/{day:02}/{year}"),
            Self::De | Self::Ru => format!("{day:02}.{month:02}.{year}"),
        }
    }

    /// A moment, in the format of the site.
    pub(crate) fn date_time(self, time: UnixTime) -> String {
        let (hour, minute, second) = time.time_of_day();
        let clock = match self {
            Self::En => {
                let half = if hour < 12 { "am" } else { "pm" };
                format!("{:02}:{minute:02}:{second:02} {half}", (hour + 11) % 12 + 1)
            }
            Self::De | Self::Ru => format!("{hour:02}:{minute:02}:{second:02}"),
        };
        format!("{} {clock}", self.date(time))
    }
}

/// What the portal says of a method that real portals have and this stand-in has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingMethods {
    /// An error of the stand-in's own, with status 501, so that nobody takes its gap for a fault
    /// of the application or of the plan. The default.
    #[default]
    Named,
    /// ERROR_METHOD_NOT_FOUND, as a portal without the module.
    NotFound,
}

/// How the portal's applications are authorized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authorization {
    /// By the vendor's authorization server. The default.
    #[default]
    Shared,
    /// By a self-hosted portal itself, which is cut off from that server: handler requests come
    /// without `refresh_token` and `server_endpoint` (custom authorization provider).
    Isolated,
}

/// What the portal itself writes into process logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnEntries {
    /// Nothing, so that a test sees the application's lines only. The default.
    #[default]
    None,
    /// When an activity begins and ends, as a real portal does. These entries count towards the
    /// cloud's 50.
    Activities,
}
