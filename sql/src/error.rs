use std::error::Error as StdError;
use std::io;

/// Why a database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong: an unreadable URL, a file that is not a database, a missing password. The text holds no
    /// password.
    #[error("{0}")]
    Configuration(String),
    /// No encrypted connection that can be trusted: the certificate, its name, its time, its authority.
    #[error("TLS to the database: {0}")]
    Tls(String),
    /// The connection could not be made, or broke off; or there was no answer in time.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No connection of the pool became free in time, or none could be opened.
    #[error("no connection to the database became free in time")]
    PoolTimedOut,
    /// The pool was closed.
    #[error("the connections to the database are closed")]
    PoolClosed,
    /// The other side said something that the protocol has not.
    #[error("unexpected answer of the database: {0}")]
    Protocol(String),
    /// What the database said no to.
    #[error("{0}")]
    Database(DatabaseError),
    /// A query that must answer with a row did not.
    #[error("no row where one is expected")]
    RowNotFound,
    /// A value cannot be stored as it is.
    #[error("a value cannot be stored: {0}")]
    Encode(Box<dyn StdError + Send + Sync>),
    /// A column does not hold what is read from it.
    #[error("a column cannot be read: {0}")]
    Decode(Box<dyn StdError + Send + Sync>),
}

/// What the database itself said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct DatabaseError {
    /// PostgreSQL's SQLSTATE, five characters; or SQLite's extended result code, in decimal digits.
    pub code: String,
    /// In the database's words.
    pub message: String,
}
