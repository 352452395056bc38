//! The connections: how one is opened, tried before it is used, and taken back.

use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, Connection, Executor, Row};

use super::{Database, DatabaseKind, within};

/// How long a caller waits for a connection. A new one takes two or three answers.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for one answer of the server, as to a ping: a slow one takes seconds. One that hangs
/// never answers, and says nothing either.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long a statement waits for SQLite's write lock before it fails as busy.
const BUSY_TIMEOUT_MS: u32 = 5_000;

/// Whether `url` is one that a database of this kind can be opened by; opens nothing.
pub fn is_readable(kind: DatabaseKind, url: &str) -> bool {
    let driver = match kind {
        #[cfg(feature = "embedded")]
        DatabaseKind::Sqlite => sqlx::sqlite::SqliteConnectOptions::from_str(url).map(drop),
        #[cfg(not(feature = "embedded"))]
        DatabaseKind::Sqlite => Ok(()),
        DatabaseKind::Postgres => sqlx::postgres::PgConnectOptions::from_str(url).map(drop),
    };
    driver.is_ok() && AnyConnectOptions::from_str(url).is_ok()
}

/// Connects when the first connection is wanted, with `size` connections at most.
///
/// # Errors
/// The URL cannot be read. The message does not hold it.
pub(super) fn open(url: &str, kind: DatabaseKind, size: u32) -> Result<AnyPool, sqlx::Error> {
    let options = AnyConnectOptions::from_str(url)
        .map_err(|_| sqlx::Error::Configuration("DATABASE_URL cannot be read as a URL".into()))?;
    Ok(AnyPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if kind == DatabaseKind::Sqlite {
                    // Readers do not wait for the writer in WAL mode; FULL keeps what was
                    // committed through a power failure.
                    for pragma in [
                        format!("PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}"),
                        "PRAGMA journal_mode = WAL".to_owned(),
                        "PRAGMA synchronous = FULL".to_owned(),
                        "PRAGMA foreign_keys = ON".to_owned(),
                    ] {
                        connection.execute(sqlx::AssertSqlSafe(pragma)).await?;
                    }
                }
                Ok(())
            })
        })
        // sqlx would ask without a limit, and one dead connection take all of a caller's time.
        .test_before_acquire(false)
        .before_acquire(|connection, _| {
            Box::pin(async move {
                within(ANSWER_LIMIT, connection.ping()).await?;
                Ok(true)
            })
        })
        // sqlx asks it again, but without a limit.
        .after_release(move |connection, _| {
            Box::pin(async move { within(ANSWER_LIMIT, is_usable(connection, kind)).await })
        })
        .connect_lazy_with(options))
}

impl Database {
    /// From now on connections go to the address of the host's name that answers first.
    pub(super) async fn choose_address(&self) {
        let Some(host) = &self.host else { return };
        // A name that has one address now, as after a failover, is looked up by each connection again: the
        // address chosen before may be gone.
        let url = host.answering().await.unwrap_or_else(|| host.url());
        if let Ok(options) = AnyConnectOptions::from_str(&url) {
            self.pool.set_connect_options(options);
        }
    }
}

/// Whether a connection that is given back answers, and has no transaction open that sqlx knows
/// nothing of.
async fn is_usable(
    connection: &mut AnyConnection,
    kind: DatabaseKind,
) -> Result<bool, sqlx::Error> {
    match kind {
        DatabaseKind::Sqlite => {
            connection.ping().await?;
            // SQLite ends a transaction itself whose commit meets a full disk; sqlx takes it for
            // open still, and would never begin another on this connection.
            Ok(!connection.is_in_transaction())
        }
        DatabaseKind::Postgres => {
            // One whose BEGIN was dropped half-way is open, but sqlx does not count it. Outside of
            // a transaction now() is when the statement came (in the simple protocol).
            let alone = "SELECT CASE WHEN now() = statement_timestamp() THEN 1 ELSE 0 END";
            let row = sqlx::raw_sql(alone).fetch_one(connection).await?;
            Ok(row.try_get::<i32, _>(0)? == 1)
        }
    }
}
