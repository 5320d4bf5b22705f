//! Settings: from a TOML file, and from environment variables, which override it.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::{Table, Value};
use tracing::level_filters::LevelFilter;
use tracing_bizproc::PortalId;
use tracing_bizproc::auth::Webhook;
use tracing_bizproc::config::Config;
use tracing_bizproc_relay::PgConfig;

use crate::Failure;

mod credentials;
mod source;

pub(crate) use self::credentials::Access;
use self::source::Source;

/// All settings, after the checks.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) database: PgConfig,
    /// `None`: no credentials are set. Only `run` needs them.
    pub(crate) access: Option<Access>,
    /// Where health and metrics are served. `None`: nowhere.
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) max_age: Duration,
    /// The time from the signal until the process ends.
    pub(crate) stop_timeout: Duration,
    pub(crate) log: LevelFilter,
    pub(crate) json: bool,
    /// Options of delivery.
    pub(crate) delivery: Config,
}

impl Settings {
    /// Reads the settings from this file, or from the file that the environment names, or without a file.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, Failure> {
        let variables = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect::<BTreeMap<_, _>>();
        let named = variables.get(CONFIG).filter(|name| !name.is_empty()).map(PathBuf::from);
        let table = match file.map(Path::to_path_buf).or(named) {
            None => Table::new(),
            Some(file) => read(&file)?,
        };
        Settings::parse(table, variables).map_err(Failure::Usage)
    }

    fn parse(table: Table, variables: BTreeMap<String, String>) -> Result<Self, String> {
        let mut source = Source::new(table, variables);
        let database = database(&mut source)?;
        let access = credentials::access(&mut source)?;
        let listen = source.get("listen", "BIZPROC_RELAY_LISTEN", |text| match text {
            "off" => Ok(None),
            address => address.parse().map(Some).map_err(|_| {
                "expected an address with a port, such as 127.0.0.1:9464, or `off`".to_owned()
            }),
        })?;
        let time = |text: &str| duration(text);
        let max_age = source.get("max_age", "BIZPROC_RELAY_MAX_AGE", time)?;
        let stop_timeout = source.get("stop_timeout", "BIZPROC_RELAY_STOP_TIMEOUT", time)?;
        let log = source.get("log", "BIZPROC_RELAY_LOG", |text| {
            text.parse().map_err(|_| "expected off, error, warn, info, debug or trace".to_owned())
        })?;
        let json = source.get("log_format", "BIZPROC_RELAY_LOG_FORMAT", |text| match text {
            "json" => Ok(true),
            "text" => Ok(false),
            _ => Err("expected json or text".to_owned()),
        })?;
        let delivery = delivery(&mut source)?;
        source.finish()?;
        let stop_timeout = stop_timeout.unwrap_or(Duration::from_secs(25));
        if stop_timeout < SHORTEST_STOP {
            return Err(
                "stop_timeout is below 5s: the last request needs some time, so set at least 5s"
                    .to_owned(),
            );
        }
        let max_age = max_age.unwrap_or(Duration::from_secs(24 * 3_600));
        if max_age.is_zero() {
            return Err(
                "max_age is zero: nothing would be delivered, so set a longer time, such as 24h"
                    .to_owned(),
            );
        }
        Ok(Settings {
            database,
            access,
            listen: listen.unwrap_or(Some(LISTEN)),
            max_age,
            stop_timeout,
            log: log.unwrap_or(LevelFilter::INFO),
            json: json.unwrap_or(true),
            delivery,
        })
    }
}

fn database(source: &mut Source) -> Result<PgConfig, String> {
    let url = source.secret("database.url", PgConfig::ENV)?;
    let (from, url) = url.ok_or(
        "the database is not set: BIZPROC_DATABASE_URL in the environment, or `url` under [database]",
    )?;
    let mut config = PgConfig::parse(&url).map_err(|error| format!("{from}: {error}"))?;
    let password = source.file("database.password_file", "BIZPROC_DATABASE_PASSWORD_FILE")?;
    if let Some(password) = password {
        config = config.password(password.trim_end_matches(['\r', '\n']));
    }
    let schema = source.get("database.schema", "BIZPROC_DATABASE_SCHEMA", |text| {
        config.clone().schema(text).map_err(|error| error.to_string())
    })?;
    config = schema.unwrap_or(config);
    if let Some(roots) = source.file("database.roots_file", "BIZPROC_DATABASE_ROOTS_FILE")? {
        config = config.extra_roots(roots);
    }
    Ok(config)
}

/// Options of the worker. Options of replicas are errors, because they have no effect here.
fn delivery(source: &mut Source) -> Result<Config, String> {
    let mut config = Config::new();
    for (name, value) in source.table("delivery")? {
        let value = match value {
            Value::String(text) => text,
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(yes) => yes.to_string(),
            _ => return Err(format!("delivery.{name}: expected a text, a number or a boolean")),
        };
        config.set(&name, &value).map_err(|error| format!("delivery: {error}"))?;
    }
    let given = Config::from_variables(source.variables()).map_err(|error| error.to_string())?;
    for (name, value) in given.options() {
        config.set(name, &value).map_err(|error| error.to_string())?;
    }
    for (name, _) in config.options() {
        if name == "max_age" {
            return Err("the option max_age has no effect here: use the relay's own max_age \
                        (BIZPROC_RELAY_MAX_AGE)"
                .to_owned());
        }
        if !DELIVERY.contains(&name) {
            return Err(format!(
                "the option {name} has no effect in a relay: set it where lines are logged (these work \
                 here: {})",
                DELIVERY.join(", ")
            ));
        }
    }
    Ok(config)
}

/// Options of [`Config`] that a relay uses.
const DELIVERY: &[&str] = &[
    "self_hosted",
    "linger",
    "max_hold",
    "retention",
    "send_at_once_from",
    "entry_bytes",
    "request_bytes",
    "quota",
    "operating_limit",
    "pending_lines",
    "pending_bytes",
    "portal_share",
    "on_unknown_outcome",
    "keep_supplementary_characters",
    "connect_timeout",
    "request_timeout",
    "extra_roots_file",
    "trust_certificate",
];

fn read(file: &Path) -> Result<Table, Failure> {
    let shown = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("{shown} cannot be read: {error}")))?;
    text.parse().map_err(|error: toml::de::Error| {
        // The error does not show the line itself, because it may contain a secret.
        let place =
            error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let place = place.map(|line| format!(" in line {line}")).unwrap_or_default();
        Failure::Usage(format!("{shown} is not TOML{place}: {}", error.message()))
    })
}

/// A time: a number and `ms`, `s`, `min`, `h` or `d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let millis = match unit.trim_start() {
        "ms" => Some(1),
        "s" => Some(1_000),
        "min" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let number = number.parse::<u64>().ok();
    let most = 366 * 86_400_000;
    number
        .zip(millis)
        .and_then(|(number, millis)| number.checked_mul(millis))
        .filter(|millis| *millis <= most)
        .map(Duration::from_millis)
        .ok_or_else(|| {
            "expected a time of at most a year, such as 500ms, 20s, 5min, 24h or 7d".to_owned()
        })
}

/// The webhook of one portal. The name is that of the portal in spans.
fn webhook(url: &str) -> Result<Webhook, String> {
    Webhook::new(url.trim()).map_err(|error| error.to_string())
}

/// The variable that names the file.
const CONFIG: &str = "BIZPROC_RELAY_CONFIG";
/// By default, only this machine can read the pages.
const LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);
const SHORTEST_STOP: Duration = Duration::from_secs(5);

/// Portals with webhooks of their own.
type Webhooks = std::collections::HashMap<PortalId, Webhook>;

#[cfg(test)]
mod tests;
