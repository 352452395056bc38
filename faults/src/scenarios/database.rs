//! The story of a database in trouble, whichever and whatever it is: intake goes on, what needs the
//! database waits and says so, and everything is there when the trouble is over.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::http;

use crate::checker::Verdict;
use crate::load::{self, LoadPlan};
use crate::run::Run;
use crate::shop::{Databases, Service, Shop, Stage};

/// How long an answer may take that the database is missing for.
const ANSWERED: Duration = Duration::from_secs(10);

/// Orders a second.
const RATE: u64 = 200;

/// Orders that are placed in each round while the trouble is known.
pub(super) const MEANWHILE: u64 = 100;

/// Outcomes of a consumer's records that an outage must not have.
const BLAMED: [&str; 4] = ["retried", "exhausted", "rejected", "dead_lettered"];

/// Something that befalls the databases of producer-svc and notifier-svc, and passes.
pub trait Trouble {
    const WHAT: &'static str;

    fn begin(&mut self, shop: &mut Shop) -> impl Future<Output = ()> + Send;
    fn end(&mut self, shop: &mut Shop) -> impl Future<Output = ()> + Send;
}

/// Trouble comes and goes while orders flow.
///
/// # Panics
/// When something is lost, refused, or not said.
pub async fn passes<T: Trouble>(run: Run, databases: Databases, mut trouble: T) -> Verdict {
    let mut shop = Shop::open_on(Stage::any().await, databases, &[]).await;
    let plan = few(&run);
    let user = load::user(&plan.prefix, 0);
    let mut load = shop.load(plan.clone());
    let mut asked_for = Vec::new();
    for moment in run.moments() {
        load.reached(moment).await;
        shop.fault(T::WHAT);
        trouble.begin(&mut shop).await;
        shop.producers[0].names_its_database().await;
        shop.notifiers[0].names_its_database().await;
        load.reached(load.accepted() + MEANWHILE).await;
        asked_for.push(accepted_and_not_yet_seen(shop.producers[0].address, &user).await);
        trouble.end(&mut shop).await;
        ready(&mut shop).await;
        shop.fault_over();
    }
    load.enough();
    let (history, verdict) = shop.settle(&plan, load).await;
    verdict.assert_clean();
    assert_eq!(
        verdict.requests,
        verdict.orders - asked_for.len(),
        "intake refused orders"
    );
    assert!(history.letters.is_empty(), "{:?}", history.letters);
    nothing_was_blamed(&shop).await;
    seen(shop.producers[0].address, &asked_for).await;
    verdict
}

/// The services are ended and started while there is trouble.
///
/// # Panics
/// When something is lost, or not said.
pub async fn at_start<T: Trouble>(run: Run, databases: Databases, mut trouble: T) -> Verdict {
    let mut shop = Shop::open_on(Stage::any().await, databases, &[]).await;
    let plan = few(&run);
    let user = load::user(&plan.prefix, 0);
    let mut load = shop.load(plan.clone());
    let mut asked_for = Vec::new();
    for moment in run.moments() {
        load.reached(moment).await;
        shop.fault(T::WHAT);
        trouble.begin(&mut shop).await;
        for service in [Service::Producer, Service::Notifier] {
            let instance = &mut shop.instances(service)[0];
            // It leaves in order, also where a call to the database does not return.
            let status = instance.end().await;
            assert!(status.success(), "{status}: {}", instance.process.output());
            instance.start_again().await;
            instance.names_its_database().await;
        }
        asked_for.push(accepted_and_not_yet_seen(shop.producers[0].address, &user).await);
        trouble.end(&mut shop).await;
        ready(&mut shop).await;
        shop.fault_over();
    }
    load.enough();
    let (history, verdict) = shop.settle(&plan, load).await;
    verdict.assert_clean();
    assert!(history.letters.is_empty(), "{:?}", history.letters);
    nothing_was_blamed(&shop).await;
    seen(shop.producers[0].address, &asked_for).await;
    verdict
}

/// Few enough that what waits is soon worked off.
pub(super) fn few(run: &Run) -> LoadPlan {
    LoadPlan {
        rate: Some(RATE),
        ..run.steady_plan()
    }
}

pub(super) async fn ready(shop: &mut Shop) {
    for service in [Service::Producer, Service::Consumer, Service::Notifier] {
        shop.instances(service)[0].ready().await;
    }
}

/// Places an order. Answers its id.
pub(super) async fn accepted(address: SocketAddr, user: &str) -> String {
    let body = json!({"product": "Laptop", "quantity": 1, "userId": user}).to_string();
    let receipt = http::post(address, "/api/orders", &[], &body).await;
    assert_eq!(receipt.status, 200, "{receipt:?}");
    let receipt: Value = serde_json::from_str(&receipt.body).expect("a receipt in JSON");
    receipt["orderId"].as_str().expect("an id").to_owned()
}

/// Places an order, and asks for it while the view cannot know it. Answers its id.
async fn accepted_and_not_yet_seen(address: SocketAddr, user: &str) -> String {
    let id = accepted(address, user).await;
    let path = format!("/api/orders/{id}");
    let asked = tokio::time::timeout(ANSWERED, http::get(address, &path));
    let asked = asked.await.expect("an answer within the request's timeout");
    if asked.status == 200 {
        // The database can be read, and this instance accepted the order.
        assert!(
            asked.body.contains(r#""status":"ACCEPTED","product""#),
            "{asked:?}"
        );
        return id;
    }
    assert_eq!(asked.status, 503, "{asked:?}");
    assert!(asked.body.contains("database"), "{asked:?}");
    assert!(asked.header("retry-after").is_some(), "{asked:?}");
    id
}

/// The view has what became of them.
pub(super) async fn seen(address: SocketAddr, orders: &[String]) {
    for id in orders {
        let answer = http::get(address, &format!("/api/orders/{id}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.contains("CONFIRMED"), "{answer:?}");
    }
}

pub(super) async fn nothing_was_blamed(shop: &Shop) {
    let names = &shop.names;
    let read = [
        (&shop.producers[0], &names.view, &names.statuses),
        (&shop.producers[0], &names.view, &names.orders),
        (
            &shop.notifiers[0],
            &names.notification,
            &names.notifications,
        ),
    ];
    for (instance, group, topic) in read {
        for outcome in BLAMED {
            let metric = format!(
                r#"kafka_consumer_records_total{{group="{group}",topic="{topic}",outcome="{outcome}"}}"#
            );
            assert_eq!(instance.metric(&metric).await, Some(0.0), "{metric}");
        }
    }
}
