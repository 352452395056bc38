use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyPool, Executor, Transaction};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::migration::{MigrateError, Migration, migrate};
use crate::config::DatabaseConfig;
use crate::health::HealthPart;

/// Which SQL dialect the database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    Sqlite,
    Postgres,
}

/// A pool of connections and whether the schema is there. Clones share both.
#[derive(Clone, Debug)]
pub struct Database {
    pool: AnyPool,
    kind: DatabaseKind,
    migrations: &'static [Migration],
    ready: watch::Sender<bool>,
    /// Folder of the SQLite file, made before the first connection.
    folder: Option<std::path::PathBuf>,
}

/// How long a caller waits for a connection: shorter than `REQUEST_TIMEOUT`'s default, so that a
/// request can still be answered.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a statement waits for SQLite's write lock before it fails as busy.
const BUSY_TIMEOUT_MS: u32 = 5_000;

/// Pause between two looks at a database that answers.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Pauses between attempts to reach one that does not.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

impl Database {
    /// A handle; opens nothing yet.
    ///
    /// # Errors
    /// The URL cannot be read. The message does not hold the URL, which may hold a password.
    pub fn new(
        config: &DatabaseConfig,
        migrations: &'static [Migration],
    ) -> Result<Self, sqlx::Error> {
        // Fails only when they are installed already.
        sqlx::any::install_default_drivers();
        let kind = config.kind;
        let mut url = config.url.expose().to_owned();
        let mut folder = None;
        if kind == DatabaseKind::Sqlite {
            let file = url.trim_start_matches("sqlite:").trim_start_matches("//");
            let file = file.split('?').next().unwrap_or_default();
            folder = Path::new(file)
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty())
                .map(Path::to_path_buf);
            if !url.contains("mode=") {
                url.push_str(if url.contains('?') {
                    "&mode=rwc"
                } else {
                    "?mode=rwc"
                });
            }
        }
        let options = AnyConnectOptions::from_str(&url).map_err(|_| {
            sqlx::Error::Configuration("DATABASE_URL cannot be read as a URL".into())
        })?;
        let pool = AnyPoolOptions::new()
            .max_connections(config.pool_size)
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
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            kind,
            migrations,
            ready: watch::Sender::new(false),
            folder,
        })
    }

    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// For queries. A connection is waited for three seconds at most.
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// A transaction that will write: takes SQLite's write lock at once, since a transaction that
    /// read first cannot wait for it later.
    ///
    /// # Errors
    /// No connection, or the lock was not free in time.
    pub async fn begin_write(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.kind {
            DatabaseKind::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await,
            DatabaseKind::Postgres => self.pool.begin().await,
        }
    }

    /// Whether the schema is there and the database answered when last asked.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until [`Database::is_ready`].
    pub async fn ready(&self) {
        // The sender is this handle's own, so it cannot be gone.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Asks the database now: `true` if it answers and is migrated.
    pub async fn answers(&self) -> bool {
        self.is_ready() && sqlx::query("SELECT 1").execute(&self.pool).await.is_ok()
    }

    /// Applies what is missing of the migrations.
    ///
    /// # Errors
    /// The database does not answer, a statement fails, or an applied migration was changed.
    pub async fn migrate(&self) -> Result<(), MigrateError> {
        if let Some(folder) = &self.folder {
            std::fs::create_dir_all(folder).map_err(|error| {
                sqlx::Error::Configuration(
                    format!("cannot make the folder {}: {error}", folder.display()).into(),
                )
            })?;
        }
        migrate(self, self.migrations).await?;
        self.ready.send_replace(true);
        Ok(())
    }

    /// Migrates as soon as the database answers, then looks every two seconds whether it still
    /// does, and reports both. Ends at `stop`.
    pub async fn watch_over(self, health: HealthPart, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_watch(health) => {}
        }
    }

    async fn keep_watch(&self, health: HealthPart) {
        let mut migrated = false;
        let mut pause = RETRY.0;
        loop {
            let result = if migrated {
                sqlx::query("SELECT 1")
                    .execute(&self.pool)
                    .await
                    .map(drop)
                    .map_err(MigrateError::from)
            } else {
                self.migrate().await
            };
            match result {
                Ok(()) => {
                    migrated = true;
                    self.ready.send_replace(true);
                    if health.up() {
                        tracing::info!("database is ready");
                    }
                    pause = RETRY.0;
                    tokio::time::sleep(CHECK_INTERVAL).await;
                }
                Err(error) => {
                    self.ready.send_replace(false);
                    if health.is_up() || pause == RETRY.0 {
                        tracing::warn!("database: {error}; trying again");
                    }
                    health.down(error.to_string());
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    /// Closes all connections, after what runs on them.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
