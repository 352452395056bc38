//! SQLite: a file, and a thread for each connection to it.

mod options;
#[cfg(feature = "sqlite")]
mod session;
#[cfg(feature = "sqlite")]
mod statement;

pub use self::options::SqliteOptions;
#[cfg(feature = "sqlite")]
pub(crate) use self::{session::Session, statement::Cells};
