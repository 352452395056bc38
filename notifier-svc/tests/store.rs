//! The tables of notifications and log records, and the console, on SQLite or on the PostgreSQL of `TEST_DATABASE_URL`.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use notifier_svc::console::console;
use notifier_svc::logs::{self, Cursor, Level, LogFilter, LogRecord, LogWrite, StoredLog};
use notifier_svc::store::{
    Filter, MIGRATIONS, NotificationWrite, RETENTION, StoredNotification, Written, list,
    mark_printed, unprinted,
};
use parking_lot::Mutex;
use proto::FinalStatus::{self, Confirmed, Rejected};
use service::CancellationToken;
use service::clock::Clock;
use service::config::{DatabaseConfig, Secret};
use service::db::{BatchWrite, Database, DatabaseKind, GroupWriter, GroupWriterConfig};
use service::health::Health;
use service::logging::LogFormat;
use testkit::database::OwnDatabase;

/// A migrated database of the test's own.
struct Own {
    database: Database,
    _own: OwnDatabase,
}

async fn own() -> Own {
    let own = OwnDatabase::new().await;
    let database = database_of(&own);
    database.migrate().await.unwrap();
    Own {
        database,
        _own: own,
    }
}

fn database_of(own: &OwnDatabase) -> Database {
    let config = DatabaseConfig {
        kind: if own.url.starts_with("sqlite") {
            DatabaseKind::Sqlite
        } else {
            DatabaseKind::Postgres
        },
        url: Secret::new(own.url.clone()),
        pool_size: 4,
    };
    Database::new(&config, MIGRATIONS).unwrap()
}

fn notification(order_id: &str, status: FinalStatus, received_at: i64) -> StoredNotification {
    StoredNotification {
        order_id: order_id.into(),
        status,
        user_id: Some("user789".into()),
        reason: (status == Rejected).then(|| "too many".into()),
        topic: "notifications".into(),
        topic_id: None,
        partition: 2,
        offset: received_at + 1,
        received_at,
    }
}

async fn write(database: &Database, batch: Vec<StoredNotification>) -> Vec<Written> {
    let batch: Vec<_> = batch.into_iter().map(Arc::new).collect();
    let mut tx = database.begin_write().await.unwrap();
    let written = NotificationWrite.write(&mut tx, &batch).await.unwrap();
    tx.commit().await.unwrap();
    written
}

async fn all(database: &Database) -> Vec<StoredNotification> {
    let filter = Filter {
        user_id: None,
        limit: 1_000,
    };
    list(database, &filter).await.unwrap()
}

#[tokio::test]
async fn the_first_result_of_an_order_stays() {
    let own = own().await;
    let first = notification("1", Confirmed, 1);
    let written = write(
        &own.database,
        vec![
            first.clone(),
            notification("2", Rejected, 2),
            // Within the batch already.
            notification("1", Confirmed, 3),
            notification("2", Confirmed, 4),
        ],
    )
    .await;
    let contradicted = |stays| Written::Contradicted { stays };
    assert_eq!(
        written,
        [
            Written::Stored,
            Written::Stored,
            Written::Repeated,
            contradicted(Rejected)
        ]
    );
    let written = write(
        &own.database,
        vec![
            notification("1", Rejected, 5),
            notification("3", Confirmed, 6),
            notification("2", Rejected, 7),
        ],
    )
    .await;
    assert_eq!(
        written,
        [contradicted(Confirmed), Written::Stored, Written::Repeated]
    );
    assert_eq!(
        all(&own.database).await,
        [
            notification("3", Confirmed, 6),
            notification("2", Rejected, 2),
            first
        ]
    );
}

/// A record that comes again before anybody saw it is shown as if it came for the first time, but one of another
/// topic of the same name is a repeat, though it lies at the same place.
#[tokio::test]
async fn the_same_place_in_a_topic_created_again_is_another_record() {
    let own = own().await;
    let of = |id| StoredNotification {
        topic_id: kafka::TopicId::from_u128(id),
        ..notification("1", Confirmed, 1)
    };
    assert_eq!(write(&own.database, vec![of(1)]).await, [Written::Stored]);
    assert_eq!(write(&own.database, vec![of(1)]).await, [Written::Stored]);
    assert_eq!(write(&own.database, vec![of(2)]).await, [Written::Repeated]);
    // From before ids were kept, or from a broker without.
    let unknown = notification("1", Confirmed, 1);
    assert_eq!(write(&own.database, vec![unknown]).await, [Written::Stored]);
}

#[tokio::test]
async fn a_user_sees_the_newest_of_their_own() {
    let own = own().await;
    let of = |user: Option<&str>, id: &str, at| StoredNotification {
        user_id: user.map(Into::into),
        ..notification(id, Confirmed, at)
    };
    let batch = vec![
        of(Some("a"), "1", 10),
        of(Some("a"), "2", 30),
        of(Some("b"), "3", 20),
        of(None, "4", 40),
        of(Some("a"), "5", 20),
    ];
    write(&own.database, batch).await;
    let ids = async |user: Option<&str>, limit| {
        let filter = Filter {
            user_id: user.map(Into::into),
            limit,
        };
        let rows = list(&own.database, &filter).await.unwrap();
        rows.into_iter().map(|row| row.order_id).collect::<Vec<_>>()
    };
    assert_eq!(ids(Some("a"), 10).await, ["2", "5", "1"]);
    assert_eq!(ids(Some("a"), 2).await, ["2", "5"]);
    assert_eq!(ids(None, 3).await, ["4", "2", "5"]);
    assert!(ids(Some("nobody' OR 1=1 --"), 10).await.is_empty());
}

#[tokio::test]
async fn retention_takes_the_old_ones_that_were_printed() {
    let own = own().await;
    let batch = (1..=5).map(|n| notification(&n.to_string(), Confirmed, n));
    write(&own.database, batch.collect()).await;
    mark_printed(&own.database, &["1", "2", "4"]).await.unwrap();
    assert_eq!(RETENTION.delete_before(&own.database, 4).await.unwrap(), 2);
    let left: Vec<_> = all(&own.database)
        .await
        .into_iter()
        .map(|row| row.order_id)
        .collect();
    assert_eq!(left, ["5", "4", "3"]);
    assert_eq!(RETENTION.delete_before(&own.database, 4).await.unwrap(), 0);
}

/// As if each log record had been stored at the time that it says.
async fn stored_when_logged(database: &Database) {
    let update = sql::query("UPDATE logs SET stored_at = logged_at");
    update.execute(database.pool()).await.unwrap();
}

#[tokio::test]
async fn retention_goes_by_when_a_log_record_was_stored() {
    const DAY: Duration = Duration::from_secs(86_400);
    let own = own().await;
    // Of 1970, of now, and of the year 58879.
    let now = own.database.now();
    let times = [0, 1_767_225, now, 1_796_000_000_000_000];
    let logs: Vec<_> = (0..).zip(times).map(|(n, time)| log(0, n, time)).collect();
    let mut tx = own.database.begin_write().await.unwrap();
    let write = LogWrite {
        database: own.database.clone(),
    };
    write.write(&mut tx, &logs).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(logs::RETENTION.round(&own.database, DAY).await.unwrap(), 0);
    let later = now + 2 * 86_400_000;
    let deleted = logs::RETENTION.delete_before(&own.database, later).await;
    assert_eq!(deleted.unwrap(), 4, "all of them, when they are old");
}

#[tokio::test]
async fn a_clock_that_leaps_deletes_no_notifications() {
    const MONTH: Duration = Duration::from_secs(30 * 86_400);
    let own = OwnDatabase::new().await;
    let ahead = Arc::new(AtomicI64::new(0));
    let clock = {
        let ahead = ahead.clone();
        Clock::new(move || proto::now_millis() + ahead.load(Ordering::SeqCst))
    };
    let open = async || {
        let database = database_of(&own).with_clock(clock.clone());
        database.migrate().await.unwrap();
        database
    };
    let database = open().await;
    let rows = async |database: &Database| {
        let count = sql::query("SELECT COUNT(*) FROM notifications");
        count.fetch_value::<i64>(database.pool()).await.unwrap()
    };
    let stored = notification("1", Confirmed, database.now());
    write(&database, vec![stored]).await;
    mark_printed(&database, &["1"]).await.unwrap();

    // While it runs, and at a start.
    ahead.store(31 * 86_400_000, Ordering::SeqCst);
    for database in [database, open().await] {
        assert_eq!(RETENTION.round(&database, MONTH).await.unwrap(), 0);
        assert_eq!(rows(&database).await, 1);
        let doubt = database.believed_time().await.unwrap().unwrap_err();
        assert!(doubt.to_string().contains("the clock"), "{doubt}");
        // What is stored meanwhile has the time that is believed.
        assert!(database.now().abs_diff(proto::now_millis()) < 3_600_000);
    }
    ahead.store(0, Ordering::SeqCst);
    let database = open().await;
    assert!(database.believed_time().await.unwrap().is_ok());
    assert_eq!(RETENTION.round(&database, MONTH).await.unwrap(), 0);
    assert_eq!(rows(&database).await, 1);
}

#[tokio::test]
async fn what_is_stored_after_a_long_stop_is_not_old_when_the_clock_is_believed() {
    const HOUR: i64 = 3_600_000;
    const MONTH: Duration = Duration::from_secs(30 * 86_400);
    // SQLite, whatever is tested against: PostgreSQL has a clock of its own, which would have to agree.
    let folder = tempfile::tempdir().unwrap();
    let config = DatabaseConfig {
        kind: DatabaseKind::Sqlite,
        url: Secret::new(format!(
            "sqlite:{}",
            folder.path().join("clock.db").display()
        )),
        pool_size: 2,
    };
    let passed = Arc::new(AtomicI64::new(0));
    let clock = {
        let passed = passed.clone();
        Clock::new(move || proto::now_millis() + passed.load(Ordering::SeqCst))
    };
    let open = async || {
        let database = Database::new(&config, MIGRATIONS)
            .unwrap()
            .with_clock(clock.clone());
        database.migrate().await.unwrap();
        database
    };
    let database = open().await;
    assert!(database.believed_time().await.unwrap().is_ok());
    // The shop stood still for forty days.
    passed.store(40 * 24 * HOUR, Ordering::SeqCst);
    let database = open().await;
    let stored = notification("1", Confirmed, database.stamp());
    write(&database, vec![stored]).await;
    mark_printed(&database, &["1"]).await.unwrap();
    for hours in [12, 24, 25] {
        passed.store((40 * 24 + hours) * HOUR, Ordering::SeqCst);
        let believed = database.believed_time().await.unwrap().is_ok();
        assert_eq!(believed, hours >= 24);
        assert_eq!(RETENTION.round(&database, MONTH).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_row_of_a_wrong_clock_does_not_stay_for_ever() {
    let own = own().await;
    let now = own.database.now();
    let ahead = notification("1", Confirmed, now + 3_650 * 86_400_000);
    write(&own.database, vec![ahead]).await;
    RETENTION
        .round(&own.database, Duration::from_secs(86_400))
        .await
        .unwrap();
    let listed = list(
        &own.database,
        &Filter {
            user_id: None,
            limit: 9,
        },
    );
    let received = listed.await.unwrap()[0].received_at;
    assert!(received.abs_diff(now) < 3_600_000, "{received}");
}

fn log(partition: i32, offset: i64, time: i64) -> StoredLog {
    StoredLog {
        partition,
        offset,
        log: LogRecord {
            time,
            service: "consumer-svc".to_owned(),
            level: Level::Info,
            logger: None,
            message: "said".to_owned(),
            error: None,
            trace_id: None,
            labels: String::new(),
        },
    }
}

#[tokio::test]
async fn retention_takes_the_old_log_records() {
    let own = own().await;
    let mut kept = vec![log(1, 7, 50), log(0, 7, 50), log(0, 8, 51)];
    // More than go in one transaction; a place of the kept among them, of an earlier topic.
    let mut batch = vec![log(0, 8, 49)];
    batch.extend((0..1_200).map(|n| log(2, n, n % 50)));
    batch.extend(kept.clone());
    for part in batch.chunks(500) {
        let mut tx = own.database.begin_write().await.unwrap();
        let write = LogWrite {
            database: own.database.clone(),
        };
        write.write(&mut tx, part).await.unwrap();
        tx.commit().await.unwrap();
    }
    stored_when_logged(&own.database).await;
    let delete = async || {
        let deleting = logs::RETENTION.delete_before(&own.database, 50);
        deleting.await.unwrap()
    };
    assert_eq!(delete().await, 1_201);
    let everything = LogFilter {
        service: None,
        level: Level::Trace,
        since: i64::MIN,
        before: Cursor::NEWEST,
        limit: 10,
    };
    let mut left = logs::list(&own.database, &everything).await.unwrap();
    left.sort_by_key(|log| (log.partition, log.offset));
    kept.sort_by_key(|log| (log.partition, log.offset));
    assert_eq!(left, kept);
    assert_eq!(delete().await, 0);
}

/// What standard output has been sent; with `full`, it takes nothing.
#[derive(Clone, Default)]
struct Screen {
    shown: Arc<Mutex<Vec<u8>>>,
    full: bool,
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.full {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.shown.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.shown.lock().clone()).unwrap()
    }
}

/// Prints what is left, then `handed_in`; says whether the console is in health afterwards.
async fn print(own: &Own, format: LogFormat, screen: &Screen, handed_in: &[&str]) -> bool {
    let health = Health::new();
    let part = health.optional("console");
    let (console, printer) = console(own.database.clone(), format, part.clone(), screen.clone());
    let printer = tokio::spawn(printer.run(CancellationToken::new()));
    for id in handed_in {
        // Not of an earlier run.
        let new = Arc::new(notification(id, Rejected, i64::MAX - 1));
        write(&own.database, vec![(*new).clone()]).await;
        console.print(new).await;
    }
    drop(console);
    printer.await.unwrap();
    part.is_up()
}

async fn left(own: &Own) -> Vec<String> {
    let rows = unprinted(&own.database, i64::MAX, (i64::MIN, ""), 10);
    let rows = rows.await.unwrap().into_iter();
    rows.map(|row| row.order_id).collect()
}

#[tokio::test]
async fn what_was_left_unprinted_is_printed_first_and_once() {
    let own = own().await;
    // Many of one time: the place in between is told by the order id.
    let batch = (1..=1_200).map(|n| notification(&format!("left-{n:04}"), Confirmed, n / 800));
    write(&own.database, batch.collect()).await;
    mark_printed(&own.database, &["left-0007"]).await.unwrap();

    let screen = Screen::default();
    assert!(print(&own, LogFormat::Text, &screen, &["fresh"]).await);
    let text = screen.text();
    for id in (1..=1_200).map(|n| format!("left-{n:04}")) {
        let line = format!("[NOTIFICATION] Order {id}: CONFIRMED (user user789)\n");
        let expected = usize::from(id != "left-0007");
        assert_eq!(text.matches(&line).count(), expected, "{id}");
    }
    let fresh = "[NOTIFICATION] Order fresh: REJECTED: too many (user user789)\n";
    assert_eq!(text.matches(fresh).count(), 1);
    assert_eq!(left(&own).await, [""; 0]);

    let again = Screen::default();
    print(&own, LogFormat::Text, &again, &[]).await;
    assert_eq!(again.text(), "", "nothing is left");
}

#[tokio::test]
async fn what_another_instance_stores_meanwhile_is_left_to_it() {
    let own = own().await;
    let others = notification("another's", Confirmed, i64::MAX - 1);
    write(&own.database, vec![others]).await;
    let screen = Screen::default();
    print(&own, LogFormat::Text, &screen, &[]).await;
    assert_eq!(screen.text(), "");
    assert_eq!(left(&own).await, ["another's"]);
}

#[tokio::test]
async fn what_the_screen_did_not_take_is_printed_at_the_next_start() {
    let own = own().await;
    write(&own.database, vec![notification("1", Confirmed, 1)]).await;
    let full = Screen {
        full: true,
        ..Screen::default()
    };
    assert!(!print(&own, LogFormat::Text, &full, &["2"]).await);
    assert_eq!(left(&own).await, ["1", "2"]);
    let screen = Screen::default();
    assert!(print(&own, LogFormat::Text, &screen, &[]).await);
    assert_eq!(
        left(&own).await,
        ["2"],
        "for another start: it was stored in times to come"
    );
    assert!(screen.text().contains("Order 1: CONFIRMED"));
}

#[tokio::test]
async fn json_has_an_object_for_each_whatever_the_log_takes() {
    let own = own().await;
    let screen = Screen::default();
    print(&own, LogFormat::Json, &screen, &["7"]).await;
    let object: serde_json::Value = serde_json::from_str(&screen.text()).unwrap();
    assert_eq!(object["message"], "notification");
    assert_eq!(object["service.name"], "notifier-svc");
    assert_eq!(object["labels"]["order_id"], "7");
    assert_eq!(object["labels"]["reason"], "too many");
    assert_eq!(left(&own).await, [""; 0]);
}

#[tokio::test]
async fn many_writers_share_transactions() {
    let own = own().await;
    let writer = GroupWriter::spawn(
        own.database.clone(),
        NotificationWrite,
        GroupWriterConfig::default(),
    );
    // Every order twice, by writers that know nothing of each other.
    let tasks: Vec<_> = (0..2_000)
        .map(|n| {
            let writer = writer.clone();
            let item = Arc::new(notification(&(n % 1_000).to_string(), Confirmed, n));
            tokio::spawn(async move { writer.write(item).await.unwrap() })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        match task.await.unwrap() {
            Written::Stored => stored += 1,
            Written::Repeated => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(stored, 1_000);
    assert_eq!(all(&own.database).await.len(), 1_000);
}
