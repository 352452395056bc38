//! A service's own database: SQLite (feature `embedded`) or PostgreSQL behind one pool.
//!
//! SQL is one text with `$1` placeholders for both; only DDL may differ ([`Migration`]). The
//! [`Database`] may be away when the service starts and at any time after: it is migrated as soon as
//! it answers, and [`Database::is_ready`] says so. Nothing waits for it without a limit.
//! [`GroupWriter`] turns many small writes into few transactions, [`Retention`] deletes what is old.

mod address;
mod belief;
mod database;
mod failure;
mod file;
mod group_writer;
mod migration;
mod problem;
mod retention;
mod rows;
mod text;

pub use belief::ClockDoubt;
pub use database::{Database, DatabaseKind, is_readable};
pub use failure::is_unavailable;
pub(crate) use file::{make_private_folder, sqlite_file};
pub use group_writer::{BatchWrite, GroupWriter, GroupWriterConfig, WriteError};
pub use migration::{MigrateError, Migration};
pub use problem::database_problem;
pub use retention::Retention;
pub use rows::{filled_up, placeholders, powers_of_two, statement_rows};
pub use text::{storable, storable_key};
