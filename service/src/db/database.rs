//! The handle, and what is read and written with it.

mod admission;
mod time;
mod watch;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sql::{DatabaseKind, Options, Pool, Transaction};
use tokio::sync::watch as channel;
use tokio::time::{Instant, sleep_until, timeout};

use self::admission::Admission;
use super::failure::{is_conflict, is_unavailable};
use super::file::DatabaseFile;
use super::migration::{MigrateError, Migration, NewerSteps, migrate};
use crate::clock::Clock;
use crate::config::DatabaseConfig;

/// A pool of connections and whether the schema is there. Clones share both.
#[derive(Clone, Debug)]
pub struct Database {
    pool: Pool,
    migrations: &'static [Migration],
    ready: channel::Sender<bool>,
    admission: channel::Sender<Admission>,
    /// Why a write failed; the watch takes it from here.
    trouble: Arc<channel::Sender<Option<String>>>,
    /// Until when writes may go on, once the service is leaving.
    leaves_at: Arc<channel::Sender<Option<Instant>>>,
    /// SQLite's.
    file: Option<DatabaseFile>,
    /// This process's.
    clock: Clock,
    /// A time that was believed, and when; `None` before the database was first asked.
    believed: Arc<Mutex<Option<(i64, std::time::Instant)>>>,
}

/// Longest time for what is read: shorter than `REQUEST_TIMEOUT`'s default, so that a request can
/// still be answered.
const READ_LIMIT: Duration = Duration::from_secs(4);

/// Longest time for what is read in the background.
const LONG_READ_LIMIT: Duration = Duration::from_secs(30);

/// Longest transaction. Up to eight answers with a new connection and statements to prepare; cut
/// off and begun again it would never end on a slow server.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Longest wait for connections to close in order. The database does without: it takes one that
/// breaks off for closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

impl Database {
    /// A handle; opens nothing yet.
    ///
    /// # Errors
    /// The URL cannot be read. The message does not hold the URL, which may hold a password.
    pub fn new(
        config: &DatabaseConfig,
        migrations: &'static [Migration],
    ) -> Result<Self, sql::Error> {
        let options = Options::parse(config.url.expose())?;
        let file = match &options {
            #[cfg(feature = "embedded")]
            Options::Sqlite(options) => DatabaseFile::of(options),
            Options::Postgres(_) => None,
        };
        let pool = Pool::new(options, config.pool_size);
        Ok(Self {
            pool,
            migrations,
            ready: channel::Sender::new(false),
            admission: channel::Sender::new(Admission::Unknown),
            trouble: Arc::new(channel::Sender::new(None)),
            leaves_at: Arc::new(channel::Sender::new(None)),
            file,
            clock: Clock::system(),
            believed: Arc::default(),
        })
    }

    pub fn kind(&self) -> DatabaseKind {
        self.pool.kind()
    }

    /// For queries, inside of [`Database::read`].
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Runs queries, four seconds at most.
    ///
    /// # Errors
    /// Theirs, or that there was no answer in time.
    pub async fn read<T>(
        &self,
        queries: impl Future<Output = Result<T, sql::Error>>,
    ) -> Result<T, sql::Error> {
        within(READ_LIMIT, queries).await
    }

    /// Runs queries that nobody waits for and that may have much to read, thirty seconds at most.
    ///
    /// # Errors
    /// Theirs, or that there was no answer in time.
    pub async fn read_at_length<T>(
        &self,
        queries: impl Future<Output = Result<T, sql::Error>>,
    ) -> Result<T, sql::Error> {
        within(LONG_READ_LIMIT, queries).await
    }

    /// Runs what begins with [`Database::begin_write`] and ends with a commit, thirty seconds at
    /// most. Where the database is at fault, and not another transaction that was in the way, it is
    /// no longer [`Database::is_ready`] until a write succeeds. When the service leaves, it has
    /// until the time that [`Database::watch_over`] was told.
    ///
    /// # Errors
    /// Its own, or that there was no answer in time: then it may have been committed nevertheless.
    pub async fn write<T>(
        &self,
        transaction: impl Future<Output = Result<T, sql::Error>>,
    ) -> Result<T, sql::Error> {
        self.watched(within(WRITE_LIMIT, transaction)).await
    }

    /// The same for a request that is answered in `limit`, whatever the database does. That it took
    /// longer is not held against the database.
    ///
    /// # Errors
    /// Its own, or that there was no answer in time: then it may have been committed nevertheless.
    pub async fn write_within<T>(
        &self,
        limit: Duration,
        transaction: impl Future<Output = Result<T, sql::Error>>,
    ) -> Result<T, sql::Error> {
        if limit >= WRITE_LIMIT {
            return self.write(transaction).await;
        }
        match timeout(limit, self.watched(transaction)).await {
            Ok(result) => result,
            Err(_) => Err(late(limit)),
        }
    }

    /// Notes trouble of a transaction that is the database's.
    async fn watched<T>(
        &self,
        transaction: impl Future<Output = Result<T, sql::Error>>,
    ) -> Result<T, sql::Error> {
        let result = tokio::select! {
            result = transaction => result,
            () = self.left() => Err(failed("no answer before the service ended")),
        };
        if let Err(error) = &result
            && is_unavailable(error)
            && !is_conflict(error)
        {
            self.ready.send_replace(false);
            self.trouble.send_replace(Some(error.to_string()));
        }
        result
    }

    /// Resolves when the service is leaving and can wait no longer.
    async fn left(&self) {
        let mut leaves_at = self.leaves_at.subscribe();
        // The sender is this handle's own, so it cannot be gone.
        let Ok(at) = leaves_at.wait_for(Option::is_some).await.map(|at| *at) else {
            return;
        };
        if let Some(at) = at {
            sleep_until(at).await;
        }
    }

    /// A transaction that will write: takes SQLite's write lock at once, since a transaction that
    /// read first cannot wait for it later.
    ///
    /// # Errors
    /// No connection, or the lock was not free in time, or SQLite's file is gone.
    pub async fn begin_write(&self) -> Result<Transaction, sql::Error> {
        if let Some(file) = &self.file {
            file.check()?;
        }
        self.pool.begin().await
    }

    /// Applies what is missing of the migrations.
    ///
    /// # Errors
    /// The database does not answer, a statement fails, or an applied migration was changed.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        self.bring_up(NewerSteps::Refused).await?;
        self.admit();
        Ok(())
    }

    async fn bring_up(&self, newer: NewerSteps) -> Result<(), MigrateError> {
        if let Some(file) = &self.file {
            file.make_folder()?;
            file.check_format()?;
            file.keep_to_owner()?;
        }
        migrate(self, self.migrations, newer).await?;
        if let Some(file) = &self.file {
            file.opened();
        }
        // Before anything is stored with a time.
        let _doubted = self.believed_time().await?;
        Ok(())
    }

    /// Closes all connections, after what runs on them; gives up after two seconds.
    pub async fn close(&self) {
        if timeout(CLOSE_LIMIT, self.pool.close()).await.is_err() {
            tracing::warn!("database: connections did not close in time");
        }
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sql::Error>>,
) -> Result<T, sql::Error> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(late(limit)),
    }
}

fn late(limit: Duration) -> sql::Error {
    failed(format!("no answer within {:.1} s", limit.as_secs_f64()))
}

fn failed(text: impl Into<String>) -> sql::Error {
    sql::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text.into()))
}
