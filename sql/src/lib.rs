//! One way to write a query and a transaction, on PostgreSQL and on SQLite (feature `sqlite`).
//!
//! SQL is one text for both, with the parameters `$1`, `$2` and so on. A [`query`] runs a statement, a [`batch`] runs one
//! for many rows. Both run on a [`Connection`], as inside a [`Transaction`], or on a [`Pool`], each on a connection of its
//! own.
//!
//! On PostgreSQL no statement has a name: types of parameters are told with it, so that it goes through in one round trip, and
//! through a PgBouncer that pools transactions. A batch is one statement with an array for each column. On SQLite statements
//! are kept prepared, and a batch runs one for 64 rows.
//!
//! ```no_run
//! # async fn example() -> Result<(), sql::Error> {
//! use sql::{Options, Pool, Type};
//!
//! let pool = Pool::new(Options::parse("postgres://me@localhost/shop")?, 8);
//! let mut transaction = pool.begin().await?;
//! let mut insert = sql::batch(
//!     "INSERT INTO books (id, title) {rows} ON CONFLICT (id) DO NOTHING RETURNING id",
//!     &[Type::Bigint, Type::Text],
//! );
//! for (id, title) in [(1, "Emma"), (2, "Persuasion")] {
//!     insert = insert.bind(id).bind(title);
//! }
//! for row in insert.fetch_all(&mut transaction).await? {
//!     println!("{} is new", row.get::<i64>(0)?);
//! }
//! transaction.commit().await?;
//! let count = sql::query("SELECT COUNT(*) FROM books WHERE title = $1")
//!     .bind("Emma")
//!     .fetch_one(&pool)
//!     .await?;
//! println!("{}", count.get::<i64>(0)?);
//! # Ok(())
//! # }
//! ```

mod batch;
mod connection;
mod error;
mod options;
mod pool;
mod postgres;
mod query;
mod row;
mod sqlite;
mod transaction;
mod value;

pub use batch::{Batch, batch};
pub use connection::{Connection, Executor};
pub use error::{DatabaseError, Error};
pub use options::{DatabaseKind, Options};
pub use pool::{ACQUIRE_LIMIT, Pool, PooledConnection};
pub use postgres::PostgresOptions;
pub use query::{Query, query};
pub use row::{Column, Row};
pub use sqlite::SqliteOptions;
pub use transaction::Transaction;
pub use value::{Argument, Type};
