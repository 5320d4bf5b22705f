//! Errors of a database, without secrets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::{DbError, SqlState};

/// Why a call to PostgreSQL failed.
///
/// Connection strings contain passwords, and rows contain tokens. So errors repeat nothing of them. Of the
/// server's answer, errors show the SQLSTATE code, and only those messages that are about names and rights.
///
/// ```
/// use tracing_bizproc_relay::{PgConfig, PgError};
///
/// let error = PgConfig::parse("host=db password=s3cret word").unwrap_err();
/// assert!(matches!(error, PgError::Config(_)));
/// assert!(!error.to_string().contains("s3cret"));
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PgError {
    /// The settings of the connection cannot be used.
    #[error("the connection to PostgreSQL cannot be set up: {0}")]
    Config(String),
    /// No TLS: there is no provider of cryptography, or no certificate authority to trust.
    #[error("no TLS for the connection to PostgreSQL: {0}")]
    Tls(String),
    /// The system has no thread or no file descriptor left.
    #[error(
        "the thread for PostgreSQL cannot be started: allow this process more threads and open files"
    )]
    Thread(#[source] Arc<io::Error>),
    /// No server can be reached, or no server accepts the login.
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
        "the database has no tables for tracing-bizproc in the schema `{0}`: call `migrate` once, as a \
         role that may create them, and see that `PgConfig::schema` is the same everywhere"
    )]
    NotMigrated(String),
    /// The tables are older than this program.
    #[error("the tables have version {found}, and version {needed} is needed: call `migrate`")]
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
    #[error("PostgreSQL refused: {message} (SQLSTATE {code})")]
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
    #[error("the connection to PostgreSQL was closed: make a new one")]
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
            return PgError::Connect(format!("{} (SQLSTATE {code})", message(refusal)));
        }
        // The sources are errors of sockets and of TLS.
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(error) = source {
            text = format!("{text}: {error}");
            source = error.source();
        }
        PgError::Connect(text)
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
    let mut source = std::error::Error::source(error);
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
