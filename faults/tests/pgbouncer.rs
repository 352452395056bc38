//! The shop on a PostgreSQL as others run it: behind a PgBouncer that pools transactions, or with TLS alone.

use std::path::Path;
use std::time::Duration;

use faults::bookstore::{self, Bookstore};
use faults::carts::{self, CartShop, RemovableDatabase, registrations::Registrations};
use faults::run::Run;
use faults::shop::{Databases, Instance, Service, Shop, Stage};
use serde_json::Value;
use testkit::certificates::Authority;
use testkit::database::pool;
use testkit::pgbouncer::PgBouncer;
use testkit::postgres::{Postgres, rules};
use testkit::{eventually, http};

const PATIENCE: Duration = Duration::from_secs(60);

/// Each database's, for all instances of its service together.
const CONNECTIONS: usize = 2;

/// A database for each name.
fn create(server: &Postgres, databases: &[&str]) {
    for name in databases {
        server.execute(&format!("CREATE DATABASE {name}"));
    }
}

/// A server with these databases behind a PgBouncer.
async fn pooled(databases: &[&str]) -> (Postgres, PgBouncer) {
    let server = Postgres::guarded(rules::ANY, None, None).await;
    create(&server, databases);
    let pgbouncer = PgBouncer::start(&server, CONNECTIONS, None).await;
    (server, pgbouncer)
}

/// A server that demands TLS, with these databases; the parameters of who checks it.
async fn encrypted(authority: &Authority, databases: &[&str]) -> (Postgres, String) {
    let identity = authority.server(&["127.0.0.1"]);
    let server = Postgres::guarded(rules::ONLY_TLS, Some(&identity), None).await;
    create(&server, databases);
    (server, verifying(&authority.ca()))
}

fn verifying(ca: &Path) -> String {
    format!("sslmode=verify-full&sslrootcert={}", ca.display())
}

/// The services' connections to PgBouncer were more than it has to the server.
async fn assert_shared(server: &Postgres, pgbouncer: &PgBouncer, databases: &[&str]) {
    let looking = pool(&server.url());
    for name in databases {
        let count = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = $1";
        let count = sql::query(count).bind(*name).fetch_value(&looking).await;
        let count: i64 = count.unwrap();
        assert!((1..=CONNECTIONS as i64).contains(&count), "{name}: {count}");
    }
    let clients = pgbouncer.log().matches("login attempt: db=").count();
    assert!(clients > CONNECTIONS * databases.len(), "{clients} clients");
}

/// The instances warned of nothing since they started but of the admin's password, and of Kafka on a busy machine.
fn assert_untroubled<'a>(instances: impl IntoIterator<Item = &'a Instance>) {
    const EXCUSED: [&str; 3] = [
        "producer_svc::admin::guard:",
        "kafka::",
        "service::kafka_glue::",
    ];
    for instance in instances {
        let output = instance.process.whole_output();
        let troubles = output.lines().filter(|line| {
            let mut words = line.split_whitespace().skip(1);
            let is_trouble = words
                .next()
                .is_some_and(|level| ["WARN", "ERROR"].contains(&level));
            let target = words.next().unwrap_or_default();
            is_trouble && !EXCUSED.iter().any(|excused| target.starts_with(excused))
        });
        let troubles: Vec<_> = troubles.collect();
        assert!(troubles.is_empty(), "{:?}: {troubles:#?}", instance.service);
    }
}

/// Orders are processed, seen and told of by two instances of each service.
async fn orders_are_worked_off(databases: Databases) {
    // Nobody is killed, so nobody is to be taken for dead on a busy machine.
    let patient = [("kafka-session-timeout", "30s")];
    let mut shop = Shop::open_on(Stage::any().await, databases, &patient).await;
    for service in [Service::Producer, Service::Consumer, Service::Notifier] {
        shop.add(service, &patient).await;
    }
    let run = Run::short_of(1_000, 1);
    let plan = run.plan();
    let load = shop.load(plan.clone());
    let (history, verdict) = shop.settle(&plan, load).await;
    verdict.assert_clean();
    assert_eq!(verdict.accepted as u64, run.orders, "{verdict}");
    assert_eq!(verdict.requests as u64, run.orders, "{verdict}");
    assert!(history.letters.is_empty(), "{:?}", history.letters);
    // Whichever instance is asked.
    for number in 0..run.orders {
        for producer in &shop.producers {
            let path = format!("/api/orders/{}", plan.order(number));
            let answer = http::get(producer.address, &path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let is_final = ["CONFIRMED", "REJECTED"].map(|status| answer.body.contains(status));
            assert!(is_final.contains(&true), "{path}: {answer:?}");
        }
    }
    assert_untroubled(
        [&shop.producers, &shop.consumers, &shop.notifiers]
            .into_iter()
            .flatten(),
    );
}

/// Everybody who registers gets one cart, and can fill it.
async fn registrations_make_carts(users: String, carts: String) {
    let users = RemovableDatabase::at(users).await;
    let carts = RemovableDatabase::at(carts).await;
    let shop = CartShop::open_on(Stage::any().await, users, carts, &[]).await;
    let load = Registrations::start(shop.producer.address, shop.consumer.address, 60);
    let registered = load.finish().await;
    assert_eq!(registered.len(), 60);
    shop.worked_off().await;
    let mut history = shop.gather().await;
    history.registered = registered;
    carts::checker::check(&history).assert_clean();
    assert_untroubled([&shop.producer, &shop.consumer]);
}

/// Two instances count each event once, and what they publish is stored.
async fn book_events_are_counted(figures: String, statistics: String) {
    let figures = RemovableDatabase::at(figures).await;
    let statistics = RemovableDatabase::at(statistics).await;
    let store = Bookstore::open_on(Stage::any().await, figures, statistics, 2).await;
    let run = Run::short_of(1_000, 1);
    let mut load = store.load(&run);
    load.reached(run.orders).await;
    let (events, sums) = load.finish().await;
    let history = store.history(events, sums).await;
    bookstore::checker::check(&history).assert_clean();
    assert_untroubled(store.consumers.iter().chain([&store.producer]));
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_worked_off_behind_pgbouncer() {
    let names = ["producer", "notifier"];
    let (server, pgbouncer) = pooled(&names).await;
    let [producer, notifier] = names.map(|name| pgbouncer.url(name, ""));
    orders_are_worked_off(Databases::at(producer, notifier)).await;
    assert_shared(&server, &pgbouncer, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registrations_make_carts_behind_pgbouncer() {
    let names = ["users", "carts"];
    let (server, pgbouncer) = pooled(&names).await;
    let [users, carts] = names.map(|name| pgbouncer.url(name, ""));
    registrations_make_carts(users, carts).await;
    assert_shared(&server, &pgbouncer, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn book_events_are_counted_behind_pgbouncer() {
    let names = ["figures", "statistics"];
    let (server, pgbouncer) = pooled(&names).await;
    let [figures, statistics] = names.map(|name| pgbouncer.url(name, ""));
    book_events_are_counted(figures, statistics).await;
    assert_shared(&server, &pgbouncer, &names).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shop_works_where_postgres_demands_tls() {
    let authority = Authority::new();
    let names = ["producer", "notifier", "users", "carts"];
    let (server, trusting) = encrypted(&authority, &names).await;
    let [producer, notifier, users, carts] =
        names.map(|name| server.url_at("127.0.0.1", name, &trusting));
    tokio::join!(
        orders_are_worked_off(Databases::at(producer, notifier)),
        registrations_make_carts(users, carts),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_tls_keeps_out_says_why() {
    let authority = Authority::new();
    let (server, _) = encrypted(&authority, &["producer"]).await;
    let shop = Shop::empty(Stage::in_process().await).await;
    let stranger = Authority::new();
    let another = verifying(&stranger.ca());
    let cases = [
        (another.as_str(), "signed by nobody that this client trusts"),
        ("sslmode=disable", "set sslmode=require"),
    ];
    for (number, (parameters, reason)) in cases.into_iter().enumerate() {
        let mut flags = shop.stage.flags();
        let url = server.url_at("127.0.0.1", "producer", parameters);
        flags.extend(
            [("http-addr", "127.0.0.1:0"), ("database-url", &url)]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let service = Instance::start(Service::Producer, number, shop.folder(), &flags).await;
        let problem = eventually(PATIENCE, || async {
            let answer = http::get(service.address, "/readyz").await;
            let report: Value = serde_json::from_str(&answer.body).expect("a report in JSON");
            let missing = report["missing"].as_array().expect("what is missing");
            let database = missing.iter().find(|part| part["name"] == "database")?;
            (answer.status == 503).then(|| database["problem"].as_str().unwrap().to_owned())
        })
        .await;
        let refused = "this configuration is refused: ";
        let log = service.process.output();
        for text in [refused, reason, "look at DATABASE_URL"] {
            assert!(problem.contains(text), "{text} is missing in: {problem}");
            assert!(log.contains(text), "{text} is missing in: {log}");
        }
        for secret in ["p@ss", "p%40ss"] {
            assert!(!problem.contains(secret) && !log.contains(secret), "{log}");
        }
        assert!(!log.contains("database is ready"), "{log}");
    }
}
