//! The table of all settings.

use std::time::Duration;

use super::words::Words;
use super::{
    Authorization, BlankSubscription, Charset, Condition, EventSend, Language, MissingMethods,
    OperatingLimit, OwnEntries, Retention, ServerTime, SqlMode, Statuses, Substitution, Tariff,
};

/// A setting by its name, for those who only have words, such as a command line:
/// [`PortalBuilder::setting`](crate::PortalBuilder::setting) takes them.
#[derive(Debug)]
pub struct Setting {
    name: &'static str,
    about: &'static [&'static str],
    choices: &'static [&'static str],
    shape: &'static str,
    written: fn(&Settings) -> String,
    set: fn(&mut Settings, &str) -> bool,
}

impl Setting {
    /// Every setting, in the order in which people are shown them.
    pub fn all() -> &'static [Self] {
        SETTINGS
    }

    /// Its name, as the method of the builder has it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is, and its default.
    pub fn about(&self) -> String {
        self.about.join("").trim().replace("[`", "").replace("`]", "")
    }

    /// All that can be written; nothing if there is no end to it.
    pub fn choices(&self) -> &'static [&'static str] {
        self.choices
    }

    /// What a value looks like, such as `SECONDS`.
    pub fn shape(&self) -> &'static str {
        self.shape
    }

    /// The value in words.
    pub(crate) fn written(&self, settings: &Settings) -> String {
        (self.written)(settings)
    }

    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Changes the setting, or says why it cannot.
    pub(crate) fn set(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        if (self.set)(settings, text) {
            return Ok(());
        }
        let wanted = match self.choices {
            [] => self.shape.to_owned(),
            choices => format!("one of {}", choices.join(", ")),
        };
        Err(format!("{} cannot be {text:?}: it is {wanted}", self.name))
    }
}

/// Hands the table to a macro: documentation, name, name of the setter, type, and default.
///
/// `given` is what the builder takes, where that is something else than the type.
macro_rules! each_setting {
    ($use_it:ident) => {
        $use_it! {
            /// The plan, and with it the rate limit. Default: [`Tariff::Unlimited`].
            tariff, set_tariff: Tariff = Tariff::default();
            /// How long the log keeps its entries. Default: [`Retention::SelfHosted`].
            retention, set_retention: Retention = Retention::default();
            /// How much server time a method may use up. Default: as much as it likes, as on a
            /// self-hosted portal. What was used up stays used up if this changes.
            operating, set_operating: Option<OperatingLimit> = None, given OperatingLimit;
            /// How much server time a command takes. Default: [`ServerTime::Measured`].
            server_time, set_server_time: ServerTime = ServerTime::default();
            /// What `bizproc.event.send` does before it answers. Default: [`EventSend::AtOnce`].
            event_send, set_event_send: EventSend = EventSend::default();
            /// What the portal itself writes into logs. Default: [`OwnEntries::None`].
            own_entries, set_own_entries: OwnEntries = OwnEntries::default();
            /// What is the matter with the portal as a whole. Default: nothing.
            condition, set_condition: Condition = Condition::default();
            /// Which statuses errors have. Default: [`Statuses::Documented`].
            statuses, set_statuses: Statuses = Statuses::default();
            /// What a batch does with `$result[..]`. Default: [`Substitution::Newer`].
            substitution, set_substitution: Substitution = Substitution::default();
            /// What the database does with a text that it cannot hold. Default: [`SqlMode::Lax`].
            sql_mode, set_sql_mode: SqlMode = SqlMode::default();
            /// Which characters the database can hold. Default: [`Charset::Utf8mb4`].
            charset, set_charset: Charset = Charset::default();
            /// The language of the portal, which formats of dates follow. Default:
            /// [`Language::En`].
            language, set_language: Language = Language::default();
            /// The plan as `app.info` names it, without the language in front. Default:
            /// `selfhosted`.
            license, set_license: String = "selfhosted".to_owned(), given &str;
            /// The host name of the authorization server, such as one of another region, in
            /// `server_endpoint`. What calls it there gets its `app.info`. Default: none, and the
            /// portal answers for that server under its own address.
            oauth_host, set_oauth_host: String = String::new(), given &str;
            /// The answer for a method of real portals that is not implemented. Default:
            /// [`MissingMethods::Named`].
            missing_methods, set_missing_methods: MissingMethods = MissingMethods::default();
            /// Whether a registered activity waits if USE_SUBSCRIPTION was left blank. Default:
            /// [`BlankSubscription::Waits`].
            blank_subscription, set_blank_subscription: BlankSubscription =
                BlankSubscription::default();
            /// How the portal's applications are authorized. Default: [`Authorization::Shared`].
            authorization, set_authorization: Authorization = Authorization::default();
            /// Bytes that a body may have; a larger one is answered with 413 and a page of HTML.
            /// Default: 8 MiB, as PHP has it.
            body_limit, set_body_limit: usize = 8 << 20;
            /// How long a hit may take, by the machine's own clock; then a proxy answers with 504
            /// and a page of HTML, while the portal goes on executing. Default: 60 seconds (REST
            /// API limits).
            request_limit, set_request_limit: Duration = Duration::from_secs(60);
            /// How long a client may take to send a head, and to send any part of a body; then the
            /// connection is closed. By the machine's own clock; it counts for connections that
            /// begin later. Default: 60 seconds, as a stock nginx has it.
            read_limit, set_read_limit: Duration = Duration::from_secs(60);
            /// How long a connection may idle between two hits; then it is closed. Otherwise as
            /// for `read_limit`. Default: 75 seconds, as a stock nginx has it.
            idle_limit, set_idle_limit: Duration = Duration::from_secs(75);
        }
    };
}
pub(crate) use each_setting;

macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident, $set:ident: $type:ty = $default:expr $(, given $given:ty)?;
    )+) => {
        /// All settings of a portal; the builder's methods document them.
        #[derive(Clone, Debug)]
        pub(crate) struct Settings {
            $(pub(crate) $name: $type,)+
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        const SETTINGS: &[Setting] = &[$(Setting {
            name: stringify!($name),
            about: &[$($doc),+],
            choices: <$type as Words>::CHOICES,
            shape: <$type as Words>::SHAPE,
            written: |settings| settings.$name.written(),
            set: |settings, text| match <$type as Words>::read(text) {
                Some(value) => {
                    settings.$name = value;
                    true
                }
                None => false,
            },
        },)+];
    };
}
each_setting!(settings);
