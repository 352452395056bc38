//! A service's own database: SQLite (feature `embedded`) or PostgreSQL behind one pool.
//!
//! Queries, batches and transactions are those of the crate `sql`, one text for both databases; only DDL may differ
//! ([`Migration`]). The [`Database`] may be away when the service starts and at any time after: it is migrated as soon as
//! it answers, and [`Database::is_ready`] says so. Nothing waits for it without a limit.
//! [`GroupWriter`] turns many small writes into few transactions, [`Retention`] deletes what is old.

mod belief;
mod database;
mod failure;
mod file;
mod group_writer;
mod migration;
mod problem;
mod retention;
mod text;

pub use belief::ClockDoubt;
pub use database::Database;
pub use failure::is_unavailable;
pub(crate) use file::{make_private_folder, sqlite_file};
pub use group_writer::{BatchWrite, GroupWriter, GroupWriterConfig, WriteError};
pub use migration::{MigrateError, Migration};
pub use problem::database_problem;
pub use retention::Retention;
pub use sql::DatabaseKind;
pub use text::{storable, storable_key};
