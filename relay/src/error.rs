//! Errors of a database, without secrets.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::{DbError, SqlState};

/// Why a call to PostgreSQL failed.
///
/// Connection strings contain passwords, and rows contain tokens. So errors repeat nothing of them. Of the
/// server's answer, errors show the SQLSTATE code, and only those messages that are about names and rights.
/// Debug is the same text, because a `main` that returns an error prints its Debug.
///
/// ```
/// use tracing_bizproc_relay::{PgConfig, PgError};
///
/// let error = PgConfig::parse("host=db password=s3cret word").unwrap_err();
/// assert!(matches!(error, PgError::Config(_)));
/// assert!(!error.to_string().contains("s3cret"));
/// ```
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PgError {
    /// The settings of the connection cannot be used. The text says which, and what to write instead.
    #[error("the connection to PostgreSQL cannot be set up: {0}")]
    Config(String),
    /// No TLS: there is no provider of cryptography, or no certificate authority to trust. The text says what to do.
    #[error("no TLS for the connection to PostgreSQL: {0}")]
    Tls(String),
    /// The system has no thread or no file descriptor left.
    #[error(
        "the thread for PostgreSQL cannot be started: allow this process more threads and open files"
    )]
    Thread(#[source] Arc<io::Error>),
    /// No server can be reached, or no server accepts the login. The text says why, and what to do.
    #[error("no connection to PostgreSQL: {0}")]
    Connect(String),
    /// The connection was lost, and so were the next ones. The statement may have been executed.
    #[error("the connection to PostgreSQL was lost; the statement may have been executed")]
    Lost,
    /// There was no answer in time. The statement may have been executed.
    #[error("PostgreSQL did not answer within {0:?}; the statement may have been executed")]
    Timeout(Duration),
    /// The tables are missing in this schema.
    #[error(
        "the database has no tables for tracing-bizproc in the schema `{0}`: run `bizproc-relay migrate` or call \
         `PgStore::migrate` once, as a role that may create them, and use the same schema in all replicas and relays"
    )]
    NotMigrated(String),
    /// The tables are older than this program.
    #[error(
        "the tables have version {found}, and version {needed} is needed: run `bizproc-relay migrate` of this \
         version, or call `PgStore::migrate`"
    )]
    TooOld {
        /// The version of the tables.
        found: i32,
        /// The version that this program needs.
        needed: i32,
    },
    /// The tables are newer than this program.
    #[error(
        "the tables have version {found}, and this program knows versions up to {known}: update this program"
    )]
    TooNew {
        /// The version of the tables.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// The server refused the statement.
    #[error("PostgreSQL refused: {message} (SQLSTATE {code}){}", after_colon(advice(code)))]
    Refused {
        /// The code, of five letters and digits.
        code: String,
        /// What the code means.
        message: String,
    },
    /// The server's answer is not what this crate expects. Please report it.
    #[error("PostgreSQL gave an unexpected answer: {0}; please report it")]
    Unexpected(String),
    /// The last handle was dropped while a call waited.
    #[error("the connection to PostgreSQL was closed: make a new store or journal")]
    Closed,
}

impl PgError {
    /// The error of a statement.
    pub(crate) fn of_statement(error: &tokio_postgres::Error, schema: &str) -> PgError {
        let Some(refusal) = error.as_db_error() else {
            return if is_transport(error) {
                PgError::Lost
            } else {
                PgError::Unexpected(error.to_string())
            };
        };
        let missing = [
            SqlState::UNDEFINED_TABLE,
            SqlState::UNDEFINED_FUNCTION,
            SqlState::INVALID_SCHEMA_NAME,
        ];
        if missing.contains(refusal.code()) {
            return PgError::NotMigrated(schema.to_owned());
        }
        PgError::Refused { code: refusal.code().code().to_owned(), message: message(refusal) }
    }

    /// The error of a connection.
    pub(crate) fn of_connecting(error: &tokio_postgres::Error) -> PgError {
        if let Some(refusal) = error.as_db_error() {
            let code = refusal.code().code();
            let advice = after_colon(advice(code));
            return PgError::Connect(format!("{} (SQLSTATE {code}){advice}", message(refusal)));
        }
        // The sources are errors of sockets and of TLS.
        let why = with_sources(error);
        PgError::Connect(format!("{why}: {}", advice_to_connect(&why)))
    }
}

/// Whether the call may succeed on another connection: this one is lost, or its server does not accept writes any
/// more.
pub(crate) fn wants_another_connection(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        None => is_transport(error),
        Some(refusal) => {
            let code = refusal.code();
            // 08: connection; 57P: the server is stopped, has crashed, or starts.
            code.code().starts_with("08")
                || code.code().starts_with("57P")
                // A standby, after the roles were changed.
                || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        }
    }
}

/// Whether two transactions were in conflict, and this one was rolled back.
pub(crate) fn is_conflict(error: &tokio_postgres::Error) -> bool {
    let conflicts = [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| conflicts.contains(code))
}

/// Whether the error is one of the connection, and not of the statement.
fn is_transport(error: &tokio_postgres::Error) -> bool {
    if error.is_closed() {
        return true;
    }
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<io::Error>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The server's message, if it names objects, roles and rights only; otherwise the meaning of the code. Messages
/// about data repeat the data.
fn message(refusal: &DbError) -> String {
    let code = refusal.code().code();
    let speaks_of_names = ["08", "25", "28", "3D", "3F", "42", "53", "55", "57"]
        .contains(&code.get(..2).unwrap_or(""));
    if speaks_of_names {
        refusal.message().to_owned()
    } else {
        "see the server's log for this code".to_owned()
    }
}

/// What to do about a refusal of the server (PostgreSQL documentation, appendix "PostgreSQL Error Codes").
fn advice(code: &str) -> Option<&'static str> {
    let advice = match code {
        "28P01" => "check the password of this user",
        "28000" => "check the user of the connection string, and `pg_hba.conf` of the server",
        "3D000" => "create the database, or correct its name in the connection string",
        "42501" => {
            "grant the role the rights that the README of tracing-bizproc-relay lists, or migrate as the owner \
             of the schema"
        }
        "25006" => {
            "this server does not accept writes: name the primary, or all hosts of the cluster, in the connection \
             string"
        }
        "53100" => "free space on the disk of the server",
        "53300" => "allow more connections (`max_connections`), or put a pooler before the server",
        "57014" => "allow more time (`statement_timeout` of the role or of the database)",
        "57P03" => "the server starts or stops: try again",
        _ => match code.get(..2)? {
            "53" => "give the server more memory, or reduce its load",
            "08" | "57" => "see whether the server runs, and try again",
            _ => return None,
        },
    };
    Some(advice)
}

fn after_colon(advice: Option<&str>) -> String {
    advice.map(|advice| format!(": {advice}")).unwrap_or_default()
}

/// What to do if no server has answered, or if there is no secure connection.
fn advice_to_connect(why: &str) -> &'static str {
    let why = why.to_ascii_lowercase();
    if why.contains("does not support tls") {
        "switch on `ssl` at the server, or set `sslmode=disable` if you trust the network"
    } else if why.contains("unknownissuer") || why.contains("causedasendentity") {
        "add the certificate authority of the server (`PgConfig::extra_roots`, or `database.roots_file` of a relay)"
    } else if why.contains("certificate") || why.contains("tls") {
        "check the certificate of the server: the host in the connection string must be one of its names, and it \
         must not have expired"
    } else if why.contains("password") {
        "put the password into the connection string, or use `PgConfig::password`"
    } else if why.contains("read-only") || why.contains("target_session_attrs") {
        "name the primary, or all hosts of the cluster, in the connection string"
    } else {
        "check host and port of the connection string, and that the server runs and can be reached from this machine"
    }
}

/// The text of an error and of its sources, except where it repeats them.
fn with_sources(error: &dyn Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

/// The text, with its sources.
impl fmt::Debug for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_sources(self))
    }
}

/// The text, with its sources.
impl fmt::Debug for crate::relay::RelayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_sources(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: `Error: NotMigrated("bizproc")` was all that a `main` printed.
    #[test]
    fn debug_says_what_to_do() {
        let shown = format!("{:?}", PgError::NotMigrated("bizproc".to_owned()));
        assert!(shown.contains("bizproc-relay migrate"), "{shown}");
        let shown = format!("{:?}", PgError::Thread(Arc::new(io::Error::other("no room"))));
        assert!(shown.contains("allow this process more threads") && shown.ends_with(": no room"));
        let error = crate::relay::RelayError::Postgres(PgError::Closed);
        assert_eq!(format!("{error:?}"), PgError::Closed.to_string());
    }

    #[test]
    fn a_refusal_says_what_to_do_if_that_is_known() {
        let refused = |code: &str| {
            let (code, message) = (code.to_owned(), "no".to_owned());
            PgError::Refused { code, message }.to_string()
        };
        assert!(refused("42501").contains("grant the role the rights"));
        assert!(refused("53200").contains("more memory"));
        assert_eq!(refused("22P02"), "PostgreSQL refused: no (SQLSTATE 22P02)");
        assert_eq!(refused("?"), "PostgreSQL refused: no (SQLSTATE ?)");
    }

    #[test]
    fn a_failed_connection_says_what_to_do() {
        for (why, hint) in [
            ("error performing TLS handshake: server does not support TLS", "switch on `ssl`"),
            ("invalid peer certificate: UnknownIssuer", "extra_roots"),
            ("invalid peer certificate: certificate not valid for name", "one of its names"),
            (
                "error connecting to server: Connection refused (os error 111)",
                "check host and port",
            ),
            ("invalid configuration: password missing", "PgConfig::password"),
        ] {
            let advice = advice_to_connect(why);
            assert!(advice.contains(hint), "{why}: {advice}");
        }
    }
}
