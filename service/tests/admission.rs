//! Whether the database lets an instance in: what `/readyz` and the groups go by.

use std::time::Duration;

use service::CancellationToken;
use service::config::{DatabaseConfig, Secret};
use service::db::{Database, DatabaseKind, Migration};
use service::health::{Health, HealthReport};
use testkit::database::OwnDatabase;
use testkit::eventually;

const PATIENCE: Duration = Duration::from_secs(60);

const THINGS: Migration = Migration {
    version: 1,
    name: "things",
    sqlite: "CREATE TABLE things (name TEXT PRIMARY KEY);\n",
    postgres: "CREATE TABLE things (name TEXT PRIMARY KEY);\n",
};
const COLOURS: Migration = Migration {
    version: 2,
    name: "colours",
    sqlite: "ALTER TABLE things ADD COLUMN colour TEXT;\n",
    postgres: "ALTER TABLE things ADD COLUMN colour TEXT;\n",
};

static OLD: [Migration; 1] = [THINGS];
static NEW: [Migration; 2] = [THINGS, COLOURS];

fn config(url: &str) -> DatabaseConfig {
    DatabaseConfig {
        kind: match url.starts_with("sqlite:") {
            true => DatabaseKind::Sqlite,
            false => DatabaseKind::Postgres,
        },
        url: Secret::new(url.to_owned()),
        pool_size: 2,
    }
}

/// A program of these steps that watches over the database.
struct Instance {
    database: Database,
    health: Health,
    stop: CancellationToken,
}

impl Instance {
    fn start(url: &str, steps: &'static [Migration]) -> Self {
        let database = Database::new(&config(url), steps).unwrap();
        let (health, stop) = (Health::new(), CancellationToken::new());
        let part = health.optional("database");
        tokio::spawn(
            database
                .clone()
                .watch_over(part, stop.clone(), Duration::ZERO),
        );
        Self {
            database,
            health,
            stop,
        }
    }

    async fn report(&self, wanted: impl Fn(&HealthReport) -> bool) -> HealthReport {
        eventually(PATIENCE, || async {
            let report = self.health.report();
            wanted(&report).then_some(report)
        })
        .await
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test]
async fn a_database_that_refuses_the_configuration_keeps_the_instance_out() {
    // A database that the server does not have; or a file that is no database.
    let own = OwnDatabase::new().await;
    let folder = tempfile::tempdir().unwrap();
    let url = match config(&own.url).kind {
        DatabaseKind::Postgres => {
            let (server, _) = own.url.rsplit_once('/').unwrap();
            format!("{server}/no_such_database")
        }
        DatabaseKind::Sqlite => {
            let file = folder.path().join("letter.db");
            std::fs::write(&file, "no database, but a letter. ".repeat(100)).unwrap();
            format!("sqlite:{}", file.display())
        }
    };
    let instance = Instance::start(&url, &OLD);
    let report = instance.report(|report| !report.ready).await;
    let problem = &report.missing[0].problem;
    assert!(problem.contains("DATABASE_URL"), "{problem}");
    let joined = tokio::time::timeout(Duration::ZERO, instance.database.not_refused()).await;
    assert!(joined.is_err(), "no group may be joined");
}

#[tokio::test]
async fn a_database_that_is_merely_away_keeps_no_group_that_can_do_without_it() {
    let instance = Instance::start("postgres://127.0.0.1:1/nobody", &OLD);
    instance.database.not_refused().await;
    let admitted = tokio::time::timeout(Duration::ZERO, instance.database.admitted()).await;
    assert!(admitted.is_err());
    let report = instance
        .report(|report| report.degraded[0].problem != "not reached yet")
        .await;
    assert!(report.ready, "{report:?}");
}

#[tokio::test]
async fn a_program_below_the_schema_is_kept_out_and_one_that_was_let_in_before_goes_on() {
    let own = OwnDatabase::new().await;
    let old = Instance::start(&own.url, &OLD);
    old.database.admitted().await;
    let new = Instance::start(&own.url, &NEW);
    new.database.admitted().await;

    let rolled_back = Instance::start(&own.url, &OLD);
    let report = rolled_back.report(|report| !report.ready).await;
    let problem = &report.missing[0].problem;
    assert!(problem.contains("schema step 2"), "{problem}");

    // The old one loses the database for a moment in the middle of the rolling update.
    let lost = old
        .database
        .write(async { Err::<(), _>(sql::Error::PoolTimedOut) });
    lost.await.unwrap_err();
    assert!(!old.database.is_ready());
    tokio::time::timeout(PATIENCE, old.database.ready())
        .await
        .expect("it goes on, since steps only add");
    assert!(old.health.report().ready);
}
