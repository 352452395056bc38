//! Why PostgreSQL, or the way to it, failed.

use std::error::Error as StdError;
use std::io;

use super::options::Server;
use super::tls;
use crate::{DatabaseError, Error};

/// SQLSTATE `invalid_authorization_specification`: no entry of `pg_hba.conf` lets this client in as it comes.
pub(super) const NOT_LET_IN: &str = "28000";

/// SQLSTATE `cannot_connect_now`: the server starts, stops or recovers.
pub(crate) const CANNOT_CONNECT_NOW: &str = "57P03";

/// What tokio-postgres says, as this crate says it.
pub(super) fn error(error: tokio_postgres::Error) -> Error {
    mapped(error, false)
}

/// `shows_certificate`: this client has one of its own.
pub(super) fn mapped(error: tokio_postgres::Error, shows_certificate: bool) -> Error {
    if let Some(said) = error.as_db_error() {
        return Error::Database(DatabaseError {
            code: said.code().code().to_owned(),
            message: said.message().to_owned(),
        });
    }
    if error.is_closed() {
        return Error::Io(closed());
    }
    // Which kind it is can only be told by its first words.
    let kind = error.to_string();
    let cause = error.into_source();
    let begins = |words: &[&str]| words.iter().any(|words| kind.starts_with(words));
    if begins(&["error serializing", "error encoding", "expected "]) {
        return Error::Encode(with_cause(&kind, cause.as_deref()).into());
    }
    if begins(&[
        "error deserializing",
        "invalid column",
        "query returned an unexpected number of columns",
    ]) {
        return Error::Decode(with_cause(&kind, cause.as_deref()).into());
    }
    if begins(&["query returned an unexpected number of rows"]) {
        return Error::RowNotFound;
    }
    if begins(&["authentication error", "invalid configuration"]) {
        return Error::Configuration(authentication(&kind, cause.as_deref()));
    }
    if begins(&[
        "error performing TLS",
        "error communicating",
        "error connecting",
    ]) && let Some(cause) = cause
    {
        return match cause.downcast::<io::Error>() {
            Ok(cause) => broken(*cause, shows_certificate),
            Err(cause) => Error::Protocol(with_cause(&kind, Some(&*cause))),
        };
    }
    Error::Protocol(with_cause(&kind, cause.as_deref()))
}

/// A connection that failed: lost, refused by TLS, or of something that speaks otherwise.
pub(super) fn broken(error: io::Error, shows_certificate: bool) -> Error {
    let refusal = error.get_ref().and_then(|cause| cause.downcast_ref());
    if let Some(refusal) = refusal {
        return Error::Tls(tls::refusal(refusal, shows_certificate));
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Io(closed()),
        // Of the decoder of messages.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Error::Protocol(error.to_string())
        }
        _ => Error::Io(error),
    }
}

/// Why server and client do not know each other.
fn authentication(kind: &str, cause: Option<&(dyn StdError + Send + Sync)>) -> String {
    match cause.map(ToString::to_string).as_deref() {
        Some("password missing") => {
            "password: the server asks for one, and there is none".to_owned()
        }
        Some("server did not use channel binding") => {
            "channel_binding: the server does not use it, or the connection is not encrypted; set \
             channel_binding=prefer, or give the server TLS and a password of scram-sha-256"
                .to_owned()
        }
        _ => with_cause(kind, cause),
    }
}

fn with_cause(kind: &str, cause: Option<&(dyn StdError + Send + Sync)>) -> String {
    match cause {
        Some(cause) => format!("{kind}: {cause}"),
        None => kind.to_owned(),
    }
}

fn closed() -> io::Error {
    let text = "the server closed the connection";
    io::Error::new(io::ErrorKind::ConnectionAborted, text)
}

pub(super) fn at(server: &Server, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{server}: {error}"))
}

/// The same, with the server that it is about.
pub(super) fn located(error: Error, server: &Server) -> Error {
    match error {
        Error::Io(error) => Error::Io(at(server, &error)),
        Error::Tls(text) => Error::Tls(format!("{server}: {text}")),
        Error::Protocol(text) => Error::Protocol(format!("{server}: {text}")),
        other => other,
    }
}

/// Whether the server may let nobody in without encryption. How PostgreSQL says so depends on its language; PgBouncer
/// says "SSL required".
pub(super) fn may_demand_encryption(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        // The same code from this function: the role does not exist, or may not log in.
        let of_role = error.routine() == Some("InitializeSessionUserId");
        error.message().contains("SSL") || error.code().code() == NOT_LET_IN && !of_role
    })
}

/// Whether the server lets in only those who show a certificate. In another language than English its own words have to
/// do.
pub(super) fn asks_for_certificate(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        error.code().code() == NOT_LET_IN && error.message().contains("client certificate")
    })
}

pub(super) fn hint(error: Error, hint: &str) -> Error {
    match error {
        Error::Database(mut error) => {
            error.message.push_str(hint);
            Error::Database(error)
        }
        other => other,
    }
}
