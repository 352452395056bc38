//! The database layer, on SQLite or on the PostgreSQL of `TEST_DATABASE_URL`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use service::CancellationToken;
use service::clock::Clock;
use service::config::{DatabaseConfig, Secret};
use service::db::{
    BatchWrite, Database, DatabaseKind, GroupWriter, GroupWriterConfig, MigrateError, Migration,
    WriteError,
};
use service::health::Health;
use sql::Connection;
use testkit::dropped_at_every_await;

const FIRST: Migration = Migration {
    version: 1,
    name: "things",
    sqlite: "CREATE TABLE things (name TEXT PRIMARY KEY, size BIGINT NOT NULL);\n\
             CREATE INDEX things_by_size ON things (size);\n",
    postgres: "CREATE TABLE things (name TEXT PRIMARY KEY, size BIGINT NOT NULL);\n\
               CREATE INDEX things_by_size ON things (size);\n",
};
const SECOND: Migration = Migration {
    version: 2,
    name: "colours",
    sqlite: "ALTER TABLE things ADD COLUMN colour TEXT;\n",
    postgres: "ALTER TABLE things ADD COLUMN colour TEXT;\n",
};
const FIRST_CHANGED: Migration = Migration {
    sqlite: "CREATE TABLE things (name TEXT)",
    postgres: "CREATE TABLE things (name TEXT)",
    ..FIRST
};

static ONE: [Migration; 1] = [FIRST];
static BOTH: [Migration; 2] = [FIRST, SECOND];
static CHANGED: [Migration; 1] = [FIRST_CHANGED];

/// A database of the test's own: a file, or a schema of the server under test.
struct Own {
    config: DatabaseConfig,
    _folder: tempfile::TempDir,
}

fn file_in(folder: &std::path::Path) -> DatabaseConfig {
    DatabaseConfig {
        kind: DatabaseKind::Sqlite,
        url: Secret::new(format!(
            "sqlite:{}",
            folder.join("new/folder/test.db").display()
        )),
        pool_size: 4,
    }
}

async fn own() -> Own {
    let folder = tempfile::tempdir().unwrap();
    let config = match std::env::var("TEST_DATABASE_URL") {
        Ok(url) => {
            let schema = format!("t{}", uuid::Uuid::new_v4().simple());
            sql::query(format!("CREATE SCHEMA {schema}"))
                .execute(&testkit::database::pool(&url))
                .await
                .unwrap();
            let joint = if url.contains('?') { '&' } else { '?' };
            DatabaseConfig {
                kind: DatabaseKind::Postgres,
                url: Secret::new(format!("{url}{joint}options=-csearch_path%3D{schema}")),
                pool_size: 4,
            }
        }
        Err(_) => file_in(folder.path()),
    };
    Own {
        config,
        _folder: folder,
    }
}

async fn count(database: &Database) -> i64 {
    sql::query("SELECT COUNT(*) FROM things")
        .fetch_value(database.pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn migrations_run_once_in_order_and_changes_are_noticed() {
    let own = own().await;
    let database = Database::new(&own.config, &ONE).unwrap();
    assert!(!database.is_ready());
    database.migrate().await.unwrap();
    database.migrate().await.unwrap();
    assert!(database.is_ready() && database.answers().await);
    sql::query("INSERT INTO things (name, size) VALUES ($1, $2)")
        .bind("ball")
        .bind(3_i64)
        .execute(database.pool())
        .await
        .unwrap();

    let later = Database::new(&own.config, &BOTH).unwrap();
    later.migrate().await.unwrap();
    assert_eq!(count(&later).await, 1);
    let newer = Database::new(&own.config, &ONE)
        .unwrap()
        .migrate()
        .await
        .unwrap_err();
    assert!(
        matches!(newer, MigrateError::Newer { version: 2 }),
        "{newer}"
    );
    let changed = Database::new(&own.config, &CHANGED)
        .unwrap()
        .migrate()
        .await
        .unwrap_err();
    assert!(
        matches!(changed, MigrateError::Changed { version: 1, .. }),
        "{changed}"
    );
}

#[tokio::test]
async fn instances_that_start_together_do_not_disturb_each_other() {
    let own = own().await;
    let databases: Vec<Database> = (0..6)
        .map(|_| Database::new(&own.config, &BOTH).unwrap())
        .collect();
    let all = databases.iter().map(Database::migrate);
    for result in futures::future::join_all(all).await {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_transaction_given_up_at_any_point_leaves_no_connection_in_it() {
    let own = own().await;
    let database = Database::new(&own.config, &ONE).unwrap();
    database.migrate().await.unwrap();
    let other = &Database::new(&own.config, &ONE).unwrap();
    let database = &database;
    let insert = async |name: String| {
        let mut tx = database.begin_write().await?;
        sql::query("INSERT INTO things (name, size) VALUES ($1, 1)")
            .bind(name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    };
    let done = dropped_at_every_await(
        |polls| insert(format!("given up {polls}")),
        async |polls| {
            // On every connection of the pool: without a transaction around it, it is there at once
            // for everybody else.
            let seen = (0..own.config.pool_size).map(|n| async move {
                let name = format!("alone {polls} {n}");
                sql::query("INSERT INTO things (name, size) VALUES ($1, 1)")
                    .bind(&name)
                    .execute(database.pool())
                    .await
                    .unwrap();
                let query = sql::query("SELECT COUNT(*) FROM things WHERE name = $1").bind(name);
                let row = query.fetch_one(other.pool()).await.unwrap();
                assert_eq!(row.get::<i64>(0).unwrap(), 1, "dropped after {polls} polls");
            });
            futures::future::join_all(seen).await;
        },
    );
    done.await.unwrap();
}

#[tokio::test]
async fn a_failed_migration_leaves_nothing_behind() {
    static BROKEN: [Migration; 2] = [
        FIRST,
        Migration {
            version: 2,
            name: "broken",
            sqlite: "CREATE TABLE others (id BIGINT);\nCREATE TABLE nonsense (\n",
            postgres: "CREATE TABLE others (id BIGINT);\nCREATE TABLE nonsense (\n",
        },
    ];
    let own = own().await;
    let broken = Database::new(&own.config, &BROKEN).unwrap();
    let error = broken.migrate().await.unwrap_err().to_string();
    assert!(error.contains("migration 2 (broken)"), "{error}");
    assert!(!broken.is_ready());
    Database::new(&own.config, &BOTH)
        .unwrap()
        .migrate()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_service_starts_while_its_database_is_away() {
    let own = own().await;
    // A file where the folder should be; or nobody listening.
    let (config, repair): (DatabaseConfig, Option<std::path::PathBuf>) = match own.config.kind {
        DatabaseKind::Sqlite => {
            let blocker = own._folder.path().join("new");
            std::fs::write(&blocker, "").unwrap();
            (own.config.clone(), Some(blocker))
        }
        DatabaseKind::Postgres => (
            DatabaseConfig {
                url: Secret::new("postgres://127.0.0.1:1/nobody"),
                ..own.config.clone()
            },
            None,
        ),
    };
    let database = Database::new(&config, &BOTH).unwrap();
    let health = Health::new();
    let stop = CancellationToken::new();
    let part = health.optional("database");
    let watching = tokio::spawn(
        database
            .clone()
            .watch_over(part, stop.clone(), Duration::ZERO),
    );
    while health
        .report()
        .degraded
        .iter()
        .all(|m| m.problem == "not reached yet")
    {
        tokio::task::yield_now().await;
    }
    assert!(!database.is_ready());
    if let Some(blocker) = repair {
        std::fs::remove_file(blocker).unwrap();
        database.ready().await;
        while !health.report().degraded.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    stop.cancel();
    watching.await.unwrap();
}

struct Things;

impl BatchWrite for Things {
    type Item = (String, i64);
    type Output = usize;

    async fn write(
        &self,
        connection: &mut Connection,
        items: &[Self::Item],
    ) -> Result<Vec<usize>, sql::Error> {
        for (name, size) in items {
            sql::query("INSERT INTO things (name, size) VALUES ($1, $2)")
                .bind(name)
                .bind(*size)
                .execute(&mut *connection)
                .await?;
        }
        Ok(vec![items.len(); items.len()])
    }
}

#[tokio::test]
async fn many_writers_share_transactions() {
    let own = own().await;
    let database = Database::new(&own.config, &BOTH).unwrap();
    database.migrate().await.unwrap();
    let config = GroupWriterConfig {
        max_batch: 100,
        queue: 1_000,
    };
    let writer = GroupWriter::spawn(database.clone(), Things, config);
    let writes = (0..500).map(|n| writer.write((format!("thing {n}"), n)));
    let sizes: Vec<usize> = futures::future::join_all(writes)
        .await
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(count(&database).await, 500);
    assert!(
        sizes.iter().any(|&size| size > 50),
        "batches stayed small: {sizes:?}"
    );
    assert!(sizes.iter().all(|&size| size <= 100));
}

#[tokio::test]
async fn one_bad_item_does_not_take_the_others_with_it() {
    let own = own().await;
    let database = Database::new(&own.config, &BOTH).unwrap();
    database.migrate().await.unwrap();
    let writer = GroupWriter::spawn(database.clone(), Things, GroupWriterConfig::default());
    let names = ["a", "b", "a", "c"];
    let writes = names.map(|name| writer.write((name.to_owned(), 1)));
    let results = futures::future::join_all(writes).await;
    let refused: Vec<bool> = results
        .iter()
        .map(|result| matches!(result, Err(WriteError::Refused(_))))
        .collect();
    assert_eq!(refused, [false, false, true, false]);
    assert_eq!(count(&database).await, 3);
}

#[tokio::test]
async fn a_database_that_is_away_is_told_from_a_bad_item() {
    let own = own().await;
    let database = Database::new(&own.config, &BOTH).unwrap();
    database.migrate().await.unwrap();
    let writer = GroupWriter::spawn(database.clone(), Things, GroupWriterConfig::default());
    database.close().await;
    let writes = [1, 2].map(|n| writer.write((format!("{n}"), n)));
    for result in futures::future::join_all(writes).await {
        assert!(
            matches!(result, Err(WriteError::Unavailable(_))),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn a_failed_write_makes_it_not_ready_until_writing_works() {
    // A file, whatever the environment says: it is what can be taken away here.
    let home = tempfile::tempdir().unwrap();
    let config = file_in(home.path());
    let database = Database::new(&config, &BOTH).unwrap();
    let health = Health::new();
    let stop = CancellationToken::new();
    let watching =
        database
            .clone()
            .watch_over(health.optional("database"), stop.clone(), Duration::ZERO);
    let watching = tokio::spawn(watching);
    database.ready().await;
    let folder = home.path().join("new/folder");
    let aside = home.path().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    let writer = GroupWriter::spawn(database.clone(), Things, GroupWriterConfig::default());
    let refused = writer.write(("ball".to_owned(), 1)).await;
    assert!(
        matches!(refused, Err(WriteError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(!database.is_ready());
    std::fs::rename(&aside, &folder).unwrap();
    database.ready().await;
    writer.write(("ball".to_owned(), 1)).await.unwrap();
    assert_eq!(count(&database).await, 1);
    stop.cancel();
    watching.await.unwrap();
}

#[tokio::test]
async fn what_hangs_is_given_up_when_the_service_leaves() {
    let own = own().await;
    let database = Database::new(&own.config, &BOTH).unwrap();
    database.migrate().await.unwrap();
    let stop = CancellationToken::new();
    stop.cancel();
    database
        .clone()
        .watch_over(
            Health::new().optional("database"),
            stop,
            Duration::from_millis(1),
        )
        .await;
    let hangs = std::future::pending::<Result<(), sql::Error>>();
    let error = database.write(hangs).await.unwrap_err().to_string();
    assert!(error.contains("before the service ended"), "{error}");
}

/// Finds the database away, and counts how often it tried.
#[derive(Clone, Default)]
struct Away(Arc<AtomicUsize>);

impl BatchWrite for Away {
    type Item = ();
    type Output = ();

    async fn write(&self, _: &mut Connection, _: &[()]) -> Result<Vec<()>, sql::Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(sql::Error::PoolTimedOut)
    }
}

#[tokio::test]
async fn what_waits_behind_a_write_that_found_it_away_is_not_tried() {
    let own = own().await;
    let database = Database::new(&own.config, &BOTH).unwrap();
    database.migrate().await.unwrap();
    let config = GroupWriterConfig {
        max_batch: 1,
        queue: 100,
    };
    let away = Away::default();
    let writer = GroupWriter::spawn(database, away.clone(), config);
    let writes = (0..100).map(|_| writer.write(()));
    for result in futures::future::join_all(writes).await {
        assert!(
            matches!(result, Err(WriteError::Unavailable(_))),
            "{result:?}"
        );
    }
    assert_eq!(away.0.load(Ordering::SeqCst), 1);
}

/// PostgreSQL's answer to one of two transactions that wait for each other.
fn deadlock() -> sql::Error {
    sql::Error::Database(sql::DatabaseError {
        code: "40P01".to_owned(),
        message: "deadlock detected".to_owned(),
    })
}

/// [`Things`] whose first transactions end in a deadlock.
struct Colliding {
    collisions: AtomicUsize,
}

impl BatchWrite for Colliding {
    type Item = (String, i64);
    type Output = usize;

    async fn write(
        &self,
        connection: &mut Connection,
        items: &[Self::Item],
    ) -> Result<Vec<usize>, sql::Error> {
        let written = Things.write(connection, items).await?;
        let left = self
            .collisions
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        match left {
            Ok(_) => Err(deadlock()),
            Err(_) => Ok(written),
        }
    }
}

#[tokio::test]
async fn a_deadlock_is_tried_again_and_is_no_database_away() {
    let own = own().await;
    let database = Database::new(&own.config, &BOTH).unwrap();
    database.migrate().await.unwrap();
    let colliding = |collisions| {
        let write = Colliding {
            collisions: AtomicUsize::new(collisions),
        };
        GroupWriter::spawn(database.clone(), write, GroupWriterConfig::default())
    };
    let once = colliding(1).write(("once".to_owned(), 1)).await;
    assert_eq!(once.unwrap(), 1);
    let twice = colliding(2).write(("twice".to_owned(), 1)).await;
    assert!(
        matches!(twice, Err(WriteError::Unavailable(_))),
        "{twice:?}"
    );
    assert!(database.is_ready());
    assert_eq!(count(&database).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_request_writes_is_bounded_by_the_request_and_not_held_against_the_database() {
    let database = Database::new(
        &DatabaseConfig {
            kind: DatabaseKind::Postgres,
            url: Secret::new("postgres://127.0.0.1:1/none"),
            pool_size: 1,
        },
        &ONE,
    )
    .unwrap();
    let begin = tokio::time::Instant::now();
    let limit = Duration::from_secs(5);
    let never = std::future::pending::<Result<(), sql::Error>>();
    let error = database.write_within(limit, never).await.unwrap_err();
    assert_eq!(begin.elapsed(), limit);
    assert!(service::db::is_unavailable(&error), "{error}");
    // A longer patience than any transaction's is none.
    let never = std::future::pending::<Result<(), sql::Error>>();
    let hour = Duration::from_secs(3_600);
    database.write_within(hour, never).await.unwrap_err();
    assert_eq!(begin.elapsed(), limit + Duration::from_secs(30));
}

#[cfg(unix)]
#[tokio::test]
async fn a_database_file_and_what_lies_beside_it_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let config = file_in(folder.path());
    let place = folder.path().join("new/folder");
    let mode = |path: &std::path::Path| {
        let about = std::fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        about.permissions().mode() & 0o777
    };
    let files = ["test.db", "test.db-wal", "test.db-shm"].map(|name| place.join(name));
    let write = async |name: &'static str| {
        let database = Database::new(&config, &ONE).unwrap();
        database.migrate().await.unwrap();
        sql::query("INSERT INTO things (name, size) VALUES ($1, 1)")
            .bind(name)
            .execute(database.pool())
            .await
            .unwrap();
        database
    };
    let database = write("made").await;
    assert_eq!(mode(&place), 0o700);
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    // As an earlier version left them, killed.
    for file in &files {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    let again = write("found").await;
    for file in &files {
        assert_eq!(mode(file), 0o600, "{}", file.display());
    }
    database.close().await;
    again.close().await;
}

#[tokio::test]
async fn a_clock_that_leaps_is_said_and_not_believed() {
    let own = own().await;
    let database = Database::new(&own.config, &ONE).unwrap();
    database.migrate().await.unwrap();
    let month = 31 * 86_400_000;
    for leap in [month, -month] {
        let wrong = Clock::new(move || proto::now_millis() + leap);
        let wrong = database.clone().with_clock(wrong);
        let health = Health::new();
        let (part, stop) = (health.optional("clock"), CancellationToken::new());
        let watch = tokio::spawn(wrong.clone().watch_clock(part, stop.clone()));
        let problem = testkit::eventually(Duration::from_secs(30), async || {
            let report = health.report();
            assert!(report.ready);
            let mut degraded = report.degraded.into_iter();
            degraded.find_map(|part| part.problem.contains("nothing is deleted").then_some(part))
        })
        .await;
        assert_eq!(problem.name, "clock");
        assert!(wrong.now().abs_diff(proto::now_millis()) < 3_600_000);
        stop.cancel();
        watch.await.unwrap();
    }
    assert!(database.believed_time().await.unwrap().is_ok());
}
