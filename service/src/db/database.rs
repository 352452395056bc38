use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, AnyPool, Connection, Executor, Row, Transaction};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::address::HostName;
use super::belief::{Belief, ClockDoubt, SKEW};
use super::failure::{is_conflict, is_unavailable};
use super::file::DatabaseFile;
use super::migration::{MigrateError, Migration, NewerSteps, migrate};
use crate::clock::Clock;
use crate::config::DatabaseConfig;
use crate::health::HealthPart;

/// Which SQL dialect the database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    Sqlite,
    Postgres,
}

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

/// Whether the database lets this instance in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// It was not asked yet.
    Unknown,
    /// It has not answered yet.
    Away,
    /// It refuses the configuration, and has never let this instance in.
    Refused,
    /// It has let this instance in. That stays so: what comes later is a loss, not a refusal.
    Admitted,
}

/// A pool of connections and whether the schema is there. Clones share both.
#[derive(Clone, Debug)]
pub struct Database {
    pool: AnyPool,
    kind: DatabaseKind,
    migrations: &'static [Migration],
    ready: watch::Sender<bool>,
    admission: watch::Sender<Admission>,
    /// Why a write failed; the watch takes it from here.
    trouble: Arc<watch::Sender<Option<String>>>,
    /// Until when writes may go on, once the service is leaving.
    leaves_at: Arc<watch::Sender<Option<Instant>>>,
    /// SQLite's.
    file: Option<DatabaseFile>,
    /// PostgreSQL's, where it is given by name.
    host: Option<HostName>,
    /// This process's.
    clock: Clock,
    /// A time that was believed, and when; `None` before the database was first asked.
    believed: Arc<Mutex<Option<(i64, std::time::Instant)>>>,
}

/// Longest wait for one answer of the server, as to a ping: a slow one takes seconds. One that hangs
/// never answers, and says nothing either.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How long a caller waits for a connection. A new one takes two or three answers.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a statement waits for SQLite's write lock before it fails as busy.
const BUSY_TIMEOUT_MS: u32 = 5_000;

/// Longest time for what is read: shorter than `REQUEST_TIMEOUT`'s default, so that a request can
/// still be answered.
const READ_LIMIT: Duration = Duration::from_secs(4);

/// Longest time for what is read in the background.
const LONG_READ_LIMIT: Duration = Duration::from_secs(30);

/// Longest transaction. Up to eight answers with a new connection and statements to prepare; cut
/// off and begun again it would never end on a slow server.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Longest first migration: it may have an index to build.
const MIGRATION_LIMIT: Duration = Duration::from_secs(600);

/// Longest time for each half of [`Database::restore`], two transactions' worth.
const RESTORE_LIMIT: Duration = Duration::from_secs(60);

/// Longest wait for the answer to a look: to a ping, and to the query.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// How long a group that needs no database waits for its first word: as long as a connection may take, so
/// that a slow refusal is heard as well.
const FIRST_WORD_LIMIT: Duration = ACQUIRE_TIMEOUT;

/// Longest wait for connections to close in order. The database does without: it takes one that
/// breaks off for closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What is written to see whether writing is possible: enough not to fit into what a full disk has
/// left over.
const FILLER_BYTES: usize = 64 * 1024;

/// Pause between two looks at a database that answers.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Pause between two looks at the clock.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

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
        let mut file = None;
        if kind == DatabaseKind::Sqlite {
            file = Some(DatabaseFile::of(&url));
            if !url.contains("mode=") {
                url.push_str(if url.contains('?') {
                    "&mode=rwc"
                } else {
                    "?mode=rwc"
                });
            }
        }
        let host = match kind {
            DatabaseKind::Postgres => HostName::of(&url),
            DatabaseKind::Sqlite => None,
        };
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
            .connect_lazy_with(options);
        Ok(Self {
            pool,
            kind,
            migrations,
            ready: watch::Sender::new(false),
            admission: watch::Sender::new(Admission::Unknown),
            trouble: Arc::new(watch::Sender::new(None)),
            leaves_at: Arc::new(watch::Sender::new(None)),
            file,
            host,
            clock: Clock::system(),
            believed: Arc::default(),
        })
    }

    /// Takes the time of day from `clock`. Default: the operating system's.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    pub fn kind(&self) -> DatabaseKind {
        self.kind
    }

    /// For queries, inside of [`Database::read`].
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Runs queries, four seconds at most.
    ///
    /// # Errors
    /// Theirs, or that there was no answer in time.
    pub async fn read<T>(
        &self,
        queries: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
        within(READ_LIMIT, queries).await
    }

    /// Runs queries that nobody waits for and that may have much to read, thirty seconds at most.
    ///
    /// # Errors
    /// Theirs, or that there was no answer in time.
    pub async fn read_at_length<T>(
        &self,
        queries: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
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
        transaction: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
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
        transaction: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
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
        transaction: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, sqlx::Error> {
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
    pub async fn begin_write(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        if let Some(file) = &self.file {
            file.check()?;
        }
        match self.kind {
            DatabaseKind::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await,
            DatabaseKind::Postgres => self.pool.begin().await,
        }
    }

    /// Whether the schema is there, the database answered when last asked, and no write has failed
    /// since by its fault.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Waits until [`Database::is_ready`].
    pub async fn ready(&self) {
        // The sender is this handle's own, so it cannot be gone.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Waits until the database has let this instance in once. A consumer group whose records are
    /// stored here is joined only then: an instance with a wrong password must take no partitions
    /// from instances that can store.
    pub async fn admitted(&self) {
        let admitted = |admission: &Admission| *admission == Admission::Admitted;
        // The sender is this handle's own, so it cannot be gone.
        let _ = self.admission.subscribe().wait_for(admitted).await;
    }

    /// Waits until the database has let this instance in or is merely away, which it also counts as
    /// when it says nothing for ten seconds. A group that needs no database is joined then, so that
    /// a configuration that is refused keeps the whole instance out, and a silent database does not.
    pub async fn not_refused(&self) {
        let mut admission = self.admission.subscribe();
        // The sender is this handle's own, so it cannot be gone.
        let known = admission.wait_for(|admission| *admission != Admission::Unknown);
        if timeout(FIRST_WORD_LIMIT, known).await.is_err() {
            return;
        }
        let _ = admission
            .wait_for(|admission| *admission != Admission::Refused)
            .await;
    }

    /// Asks the database now: `true` if it answers and is ready.
    pub async fn answers(&self) -> bool {
        self.is_ready() && self.look().await.is_ok()
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

    fn admit(&self) {
        self.admission.send_replace(Admission::Admitted);
        self.ready.send_replace(true);
    }

    async fn bring_up(&self, newer: NewerSteps) -> Result<(), MigrateError> {
        self.choose_address().await;
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

    /// The time for what is stored now, in milliseconds since 1970: this process's clock, or the database's
    /// where it has one; and where that is doubted, the time that was believed last and what has passed since.
    pub fn now(&self) -> i64 {
        let believed = *self.believed.lock();
        match believed {
            Some((time, at)) => {
                let passed = i64::try_from(at.elapsed().as_millis()).unwrap_or(i64::MAX);
                time.saturating_add(passed)
            }
            None => self.clock.now_millis(),
        }
    }

    /// The time to store a row with, in milliseconds since 1970. A clock that is doubted for being ahead may
    /// still be right, as after a long stop, and a row of now must not look old when it is believed in the
    /// end; so it is the later of [`Database::now`] and the clock. If the clock was wrong,
    /// [`Retention`](super::Retention) pulls its rows back to the time that is believed then.
    pub fn stamp(&self) -> i64 {
        self.now().max(self.clock.now_millis())
    }

    /// The time by which old rows are deleted, in milliseconds since 1970, or why no clock is believed: one that
    /// is wrong would delete everything for good. It is compared with the time that was believed last, which the
    /// database keeps, and on PostgreSQL the process's clock with the server's.
    ///
    /// # Errors
    /// The database's.
    pub async fn believed_time(&self) -> Result<Result<i64, ClockDoubt>, sqlx::Error> {
        let server = match self.kind {
            DatabaseKind::Sqlite => "CAST(-1 AS BIGINT)",
            DatabaseKind::Postgres => {
                "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
            }
        };
        let text = format!(
            "SELECT {server}, believed, claimed_from, claimed_to FROM (SELECT 1 AS one) AS here \
             LEFT JOIN believed_time ON id = one"
        );
        let before = self.clock.now_millis();
        let query = sqlx::query(sqlx::AssertSqlSafe(text)).fetch_one(&self.pool);
        let row = self.read(query).await?;
        let after = self.clock.now_millis();
        let server: i64 = row.try_get(0)?;
        let known = match row.try_get::<Option<i64>, _>(1)? {
            Some(believed) => Some(Belief {
                believed,
                claimed_from: row.try_get(2)?,
                claimed_to: row.try_get(3)?,
            }),
            None => None,
        };
        let now = match self.kind {
            DatabaseKind::Sqlite => after,
            DatabaseKind::Postgres => server,
        };
        // The answer may have taken long.
        if now < before.saturating_sub(SKEW) || now > after.saturating_add(SKEW) {
            if let Some(known) = known {
                self.believe_at_first(known.believed);
            }
            return Ok(Err(ClockDoubt::Differ {
                process: after,
                database: now,
            }));
        }
        let (belief, doubt) = match known {
            Some(known) => known.told(now),
            None => (Belief::first(now), None),
        };
        if known.is_none_or(|known| known.is_outdated_by(&belief)) {
            self.keep_belief(&belief).await?;
        }
        match doubt {
            None => {
                *self.believed.lock() = Some((now, std::time::Instant::now()));
                Ok(Ok(now))
            }
            Some(doubt) => {
                self.believe_at_first(belief.believed);
                Ok(Err(doubt))
            }
        }
    }

    /// Better than a clock that is doubted, where nothing was believed yet.
    fn believe_at_first(&self, time: i64) {
        let mut believed = self.believed.lock();
        believed.get_or_insert_with(|| (time, std::time::Instant::now()));
    }

    async fn keep_belief(&self, belief: &Belief) -> Result<(), sqlx::Error> {
        self.write(async {
            let mut tx = self.begin_write().await?;
            sqlx::query(
                "INSERT INTO believed_time (id, believed, claimed_from, claimed_to) \
                 VALUES (1, $1, $2, $3) ON CONFLICT (id) DO UPDATE SET believed = excluded.believed, \
                 claimed_from = excluded.claimed_from, claimed_to = excluded.claimed_to",
            )
            .bind(belief.believed)
            .bind(belief.claimed_from)
            .bind(belief.claimed_to)
            .execute(&mut *tx)
            .await?;
            tx.commit().await
        })
        .await
    }

    /// Looks at the clock every ten seconds, and says when it is doubted, until `stop`.
    pub async fn watch_clock(self, health: HealthPart, stop: CancellationToken) {
        let looks = async {
            let mut doubted = false;
            loop {
                self.ready().await;
                match self.believed_time().await {
                    Ok(Ok(_)) => {
                        health.up();
                        if std::mem::take(&mut doubted) {
                            tracing::info!("the clock is believed again");
                        }
                    }
                    Ok(Err(doubt)) => {
                        health.down(doubt.to_string());
                        if !std::mem::replace(&mut doubted, true) {
                            tracing::error!("{doubt}");
                        }
                    }
                    // The database's watch says so.
                    Err(_) => {}
                }
                tokio::time::sleep(CLOCK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = looks => {}
        }
    }

    /// Migrates as soon as the database answers, then looks every two seconds whether it still
    /// does, and whether it can be written to again after a write failed; reports all of it. Ends
    /// at `stop`; writes have `leave` from then on, so that a database that hangs keeps nobody from
    /// leaving.
    pub async fn watch_over(self, health: HealthPart, stop: CancellationToken, leave: Duration) {
        tokio::select! {
            () = stop.cancelled() => {
                self.leaves_at.send_replace(Some(Instant::now() + leave));
            }
            () = self.keep_watch(health) => {}
        }
    }

    async fn keep_watch(&self, health: HealthPart) {
        let mut trouble = self.trouble.subscribe();
        let mut migrated = false;
        let mut sound = false;
        let mut pause = RETRY.0;
        loop {
            let result = if sound {
                self.look().await.map_err(MigrateError::from)
            } else {
                trouble.mark_unchanged();
                self.restore(migrated).await
            };
            match result {
                Ok(()) => {
                    migrated = true;
                    sound = true;
                    self.admit();
                    if health.up() {
                        tracing::info!("database is ready");
                    }
                    pause = RETRY.0;
                    tokio::select! {
                        () = tokio::time::sleep(CHECK_INTERVAL) => {}
                        _ = trouble.changed() => {
                            sound = false;
                            let reason = trouble.borrow_and_update().clone().unwrap_or_default();
                            self.away(&health, reason);
                        }
                    }
                }
                Err(error) => {
                    sound = false;
                    if error.is_refusal() {
                        self.refused(&health, error.to_string());
                    } else {
                        self.away(&health, error.to_string());
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
            }
        }
    }

    fn away(&self, health: &HealthPart, reason: String) {
        self.lost(Admission::Away);
        if *self.admission.borrow() == Admission::Refused {
            tracing::warn!("database: {reason}; before that it refused the configuration");
            return;
        }
        if health.down(reason.clone()) {
            tracing::warn!("database: {reason}; trying again");
        }
    }

    fn refused(&self, health: &HealthPart, reason: String) {
        self.lost(Admission::Refused);
        let problem = format!(
            "this configuration is refused: {reason}; look at DATABASE_URL, or DB_HOST, DB_USER, DB_PASSWORD and DB_NAME"
        );
        if health.refused(problem.clone()) {
            tracing::error!("database: {problem}; trying again");
        }
    }

    fn lost(&self, admission: Admission) {
        self.ready.send_replace(false);
        self.admission.send_if_modified(|now| {
            // A refusal stands until the database lets the instance in: one that restarts meanwhile must not
            // make it join a group.
            let news = matches!(*now, Admission::Unknown | Admission::Away) && *now != admission;
            if news {
                *now = admission;
            }
            news
        });
    }

    /// Asks the database now, whether its schema can be read, whatever was known of it before.
    ///
    /// # Errors
    /// It does not answer in 10 s, nothing has been migrated yet, or SQLite's file is gone.
    pub async fn look(&self) -> Result<(), sqlx::Error> {
        if let Some(file) = &self.file {
            file.check()?;
        }
        let schema = sqlx::query("SELECT COUNT(*) FROM schema_migrations").execute(&self.pool);
        within(LOOK_LIMIT, schema).await.map(drop)
    }

    /// From now on connections go to the address of the host's name that answers first.
    async fn choose_address(&self) {
        let Some(host) = &self.host else { return };
        // A name that has one address now, as after a failover, is looked up by each connection again: the
        // address chosen before may be gone.
        let url = host.answering().await.unwrap_or_else(|| host.url());
        if let Ok(options) = AnyConnectOptions::from_str(&url) {
            self.pool.set_connect_options(options);
        }
    }

    /// Brings the schema up, and writes: a full disk or a standby lets everything else pass.
    async fn restore(&self, migrated: bool) -> Result<(), MigrateError> {
        let (limit, newer) = if migrated {
            (RESTORE_LIMIT, NewerSteps::Accepted)
        } else {
            (MIGRATION_LIMIT, NewerSteps::Refused)
        };
        match timeout(limit, self.bring_up(newer)).await {
            Ok(result) => result?,
            Err(_) => return Err(late(limit).into()),
        }
        let filler: String = (0..FILLER_BYTES / 32)
            .map(|_| Uuid::new_v4().simple().to_string())
            .collect();
        within(RESTORE_LIMIT, async {
            self.write_filler(&filler).await?;
            self.write_filler("").await
        })
        .await?;
        Ok(())
    }

    async fn write_filler(&self, filler: &str) -> Result<(), sqlx::Error> {
        let mut tx = self.begin_write().await?;
        sqlx::query(
            "INSERT INTO write_checks (id, filler) VALUES (1, $1) \
             ON CONFLICT (id) DO UPDATE SET filler = excluded.filler",
        )
        .bind(filler)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    /// Closes all connections, after what runs on them; gives up after two seconds.
    pub async fn close(&self) {
        if timeout(CLOSE_LIMIT, self.pool.close()).await.is_err() {
            tracing::warn!("database: connections did not close in time");
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

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(late(limit)),
    }
}

fn late(limit: Duration) -> sqlx::Error {
    failed(format!("no answer within {:.1} s", limit.as_secs_f64()))
}

fn failed(text: impl Into<String>) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text.into()))
}
