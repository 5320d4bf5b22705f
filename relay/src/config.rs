//! Where the database is, and how to reach it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::config::{ChannelBinding, Host, SslMode, TargetSessionAttrs};

use crate::error::PgError;
use crate::tls::Tls;

/// Where the database is, and how to reach it.
///
/// ```
/// # use std::time::Duration;
/// # use tracing_bizproc_relay::PgConfig;
/// # fn main() -> Result<(), tracing_bizproc_relay::PgError> {
/// let config = PgConfig::parse("postgres://bizproc@db1,db2/app")?
///     .password("from the app's own secrets")
///     .schema("bizproc")?
///     .timeout(Duration::from_secs(2));
/// # let _ = config;
/// # Ok(()) }
/// ```
///
/// # TLS
/// Connections to other machines always use TLS, and the certificate and the name are verified (`sslmode`
/// `prefer`, `require`, `verify-ca` and `verify-full` all mean this). `sslmode=disable` sends everything in plain
/// text, and so also the tokens: use it only in a network that you trust. Connections to a socket on this machine,
/// to `localhost` and to loopback addresses use plain text unless `sslmode=require` is set.
///
/// # Several servers
/// Hosts are tried in their order. If there are several, only a host that accepts writes is used
/// (`target_session_attrs=read-write`). After a failover, this is the new primary.
///
/// Debug shows the hosts and the schema only.
#[derive(Clone)]
pub struct PgConfig {
    postgres: tokio_postgres::Config,
    schema: String,
    timeout: Duration,
    extra_roots: Vec<u8>,
}

impl PgConfig {
    /// The environment variable that [`from_env`](PgConfig::from_env) reads.
    pub const ENV: &'static str = "BIZPROC_DATABASE_URL";

    /// From a connection string, as an address (`postgres://user@host/database`) or as pairs
    /// (`host=/run/postgresql user=bizproc dbname=app`).
    ///
    /// # Errors
    /// [`PgError::Config`]. It never repeats the string.
    pub fn parse(connection: &str) -> Result<Self, PgError> {
        let mut postgres = parse(connection)?;
        if postgres.get_hosts().is_empty() && postgres.get_hostaddrs().is_empty() {
            return Err(config(
                "the connection string has no host: write postgres://user@host/database, or host=/run/postgresql for the \
                 socket of this machine",
            ));
        }
        if postgres.get_channel_binding() == ChannelBinding::Require {
            return Err(config("`channel_binding=require` is not supported: remove it"));
        }
        let local = is_local(&postgres);
        match postgres.get_ssl_mode() {
            SslMode::Prefer if local => postgres.ssl_mode(SslMode::Disable),
            SslMode::Prefer => postgres.ssl_mode(SslMode::Require),
            _ => &mut postgres,
        };
        if postgres.get_application_name().is_none() {
            postgres.application_name("tracing-bizproc");
        }
        if postgres.get_hosts().len() > 1
            && postgres.get_target_session_attrs() == TargetSessionAttrs::Any
        {
            postgres.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        if postgres.get_connect_timeout().is_none() {
            postgres.connect_timeout(CONNECT_TIMEOUT);
        }
        // With the system's default, it takes two hours until a dead peer is noticed.
        postgres.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE);
        Ok(PgConfig {
            postgres,
            schema: "bizproc".to_owned(),
            timeout: Duration::from_secs(4),
            extra_roots: Vec::new(),
        })
    }

    /// From the connection string in the environment variable `BIZPROC_DATABASE_URL`.
    ///
    /// # Errors
    /// [`PgError::Config`], also if the variable is not set.
    pub fn from_env() -> Result<Self, PgError> {
        let connection = std::env::var(PgConfig::ENV).unwrap_or_default();
        if connection.is_empty() {
            return Err(config(
                "set the environment variable BIZPROC_DATABASE_URL, for example to \
                 postgres://bizproc_app:password@db.example/app",
            ));
        }
        PgConfig::parse(&connection)
    }

    /// The password, if it is not in the connection string.
    #[must_use]
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.postgres.password(password.into());
        self
    }

    /// The schema in which the tables are. Two apps that share a database need one each. `bizproc` by
    /// default.
    ///
    /// # Errors
    /// [`PgError::Config`] when it is not a name of 1 to 48 lower-case letters, digits and underscores
    /// that starts with a letter.
    pub fn schema(mut self, name: impl Into<String>) -> Result<Self, PgError> {
        let name = name.into();
        let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
        let fits =
            name.len() <= 48 && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !starts_well || !fits || name.starts_with("pg_") {
            return Err(config(
                "a schema's name has 1 to 48 lower-case letters, digits and underscores, and starts \
                 with a letter, but not with `pg_`",
            ));
        }
        self.schema = name;
        Ok(self)
    }

    /// How long one call may take in total, including connecting and repeated tries. 4 seconds by default. This is
    /// below the 5 seconds of `OAuth::store_timeout`, so that the error says what happened.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// PEM certificates of authorities to trust in addition to those of the system, for a server with a
    /// certificate of your own authority. None by default. If this is not PEM, [`PgStore::new`](crate::PgStore::new)
    /// and the like return [`PgError::Tls`].
    #[must_use]
    pub fn extra_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.extra_roots = pem.into();
        self
    }

    pub(crate) fn postgres(&self) -> &tokio_postgres::Config {
        &self.postgres
    }

    pub(crate) fn schema_name(&self) -> &str {
        &self.schema
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn tls(&self) -> Result<Tls, PgError> {
        match self.postgres.get_ssl_mode() {
            SslMode::Disable => Ok(Tls::none()),
            _ => Tls::new(&self.extra_roots),
        }
    }
}

impl fmt::Debug for PgConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgConfig")
            .field("hosts", &self.postgres.get_hosts())
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

const KEEPALIVE: Duration = Duration::from_secs(15);

/// The limit for connecting to one host. It is shorter than the limit of a call, so that the second host is tried
/// in the same call.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);

fn config(why: &str) -> PgError {
    PgError::Config(why.to_owned())
}

/// The client's own errors repeat parts of the string, and a part may be the password.
fn parse(connection: &str) -> Result<tokio_postgres::Config, PgError> {
    // The client does not know these two names. It leaves the verification to TLS, which always verifies.
    let simpler = || {
        let text = connection.replace("sslmode=verify-full", "sslmode=require");
        text.replace("sslmode=verify-ca", "sslmode=require").parse().ok()
    };
    connection.parse().ok().or_else(simpler).ok_or_else(|| {
        let unknown = UNSUPPORTED.iter().find(|name| connection.contains(&format!("{name}=")));
        match unknown {
            Some(name) => config(&format!(
                "the connection string has `{name}`, which is not supported: remove it (for `sslrootcert` there is \
                 `PgConfig::extra_roots`, or `database.roots_file` of a relay)"
            )),
            None => config(
                "the connection string cannot be read: write postgres://user:password@host/database \
                 with percent-encoded parts, or pairs such as host=db user=app, with values in single \
                 quotes if they have spaces",
            ),
        }
    })
}

/// Options of libpq that people often copy together with a connection string.
const UNSUPPORTED: &[&str] = &[
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "sslpassword",
    "passfile",
    "service",
    "gssencmode",
    "krbsrvname",
    "require_auth",
];

/// Whether all hosts are on this machine.
fn is_local(postgres: &tokio_postgres::Config) -> bool {
    let is_local_name = |name: &str| {
        name.eq_ignore_ascii_case("localhost")
            || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    };
    let addresses = postgres.get_hostaddrs();
    let by_address = addresses.iter().all(IpAddr::is_loopback);
    // If there is an address, the name is used for the certificate only.
    let by_name = postgres.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => is_local_name(name),
        #[cfg(unix)]
        Host::Unix(_) => true,
    });
    if addresses.is_empty() { by_name } else { by_address }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(connection: &str) -> SslMode {
        PgConfig::parse(connection).unwrap().postgres.get_ssl_mode()
    }

    #[test]
    fn other_machines_are_reached_by_tls_only() {
        for connection in [
            "postgres://a@db/app",
            "postgres://a@db/app?sslmode=prefer",
            "postgres://a@db/app?sslmode=require",
            "postgres://a@db/app?sslmode=verify-full",
            "host=db user=a sslmode=verify-ca",
            "host=localhost,db user=a",
            "host=10.0.0.1 user=a",
            "host=localhost hostaddr=10.0.0.1 user=a",
            "host=localhost user=a sslmode=require",
        ] {
            assert_eq!(mode(connection), SslMode::Require, "{connection}");
        }
    }

    #[test]
    fn this_machine_and_sslmode_disable_use_plain_text() {
        for connection in [
            "host=/run/postgresql user=a",
            "postgres://a@localhost/app",
            "postgres://a@127.0.0.1/app",
            "host=::1 user=a",
            "host=db hostaddr=127.0.0.1 user=a",
            "postgres://a@db/app?sslmode=disable",
        ] {
            assert_eq!(mode(connection), SslMode::Disable, "{connection}");
        }
    }

    #[test]
    fn with_several_hosts_only_a_writable_one_is_used() {
        let target =
            |connection| PgConfig::parse(connection).unwrap().postgres.get_target_session_attrs();
        assert_eq!(target("postgres://a@db1,db2/app"), TargetSessionAttrs::ReadWrite);
        assert_eq!(target("postgres://a@db1/app"), TargetSessionAttrs::Any);
        let read_only = "postgres://a@db1,db2/app?target_session_attrs=read-only";
        assert_eq!(target(read_only), TargetSessionAttrs::ReadOnly);
    }

    #[test]
    fn errors_name_the_problem_and_repeat_nothing_of_the_string() {
        for (connection, hint) in [
            ("", "no host"),
            ("user=s3cret", "no host"),
            ("host=db password=my s3cret", "cannot be read"),
            ("host=db port=s3cret", "cannot be read"),
            ("host=db password='s3cret", "cannot be read"),
            ("postgres://a:s3cret@db/app?s3cret=1", "cannot be read"),
            ("postgres://a:s3cret@db/app?sslrootcert=/s3cret.pem", "`sslrootcert`"),
            ("postgres://a:s3cret@db/app?channel_binding=require", "channel_binding"),
        ] {
            let error = PgConfig::parse(connection).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(hint), "{connection}: {shown}");
            assert!(!shown.contains("s3cret"), "{connection}: {shown}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let config = PgConfig::parse("postgres://s3cretuser:s3cret@db/app").unwrap();
        let shown = format!("{:?}", config.password("s3cret"));
        assert!(shown.contains("db") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn a_schema_is_a_plain_name() {
        let config = PgConfig::parse("host=db").unwrap();
        for name in ["", "1a", "A", "a-b", "a\"b", "pg_a", "_a", "a b", &"a".repeat(49)] {
            assert!(config.clone().schema(name).is_err(), "{name}");
        }
        assert_eq!(config.schema("app_2").unwrap().schema_name(), "app_2");
    }
}
