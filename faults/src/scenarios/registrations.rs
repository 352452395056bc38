//! Users register and fill their carts while services are killed: everybody has one cart in the end, and
//! every event was told in order.

use testkit::postgres::Postgres;
use testkit::{eventually, http};

use crate::carts::checker::{CartVerdict, check};
use crate::carts::registrations::Registrations;
use crate::carts::{CartShop, HeldMarks, RemovableDatabase};
use crate::process::PATIENCE;
use crate::run::Run;
use crate::shop::{Instance, Service, Stage};

/// One registration for so many orders of a run: a password takes longer to hash than an order to take.
const ORDERS_A_REGISTRATION: u64 = 10;

/// consumer-svc is killed and restarted.
pub async fn consumer_killed(run: Run) -> CartVerdict {
    let shop = CartShop::open(Stage::any().await).await;
    killed(run, shop, Service::Consumer).await
}

/// producer-svc is killed and restarted, with whatever its relay was about.
pub async fn producer_killed(run: Run) -> CartVerdict {
    let shop = CartShop::open(Stage::any().await).await;
    killed(run, shop, Service::Producer).await
}

async fn killed(run: Run, mut shop: CartShop, service: Service) -> CartVerdict {
    let mut load = load(&run, &shop);
    for moment in run.moments() {
        load.reached(moment / ORDERS_A_REGISTRATION).await;
        let instance = shop.instance(service);
        instance.kill();
        instance.start_again().await;
    }
    settled(shop, load).await
}

/// producer-svc is killed when Kafka has the event, and the outbox does not say so yet.
pub async fn relay_killed(run: Run) -> CartVerdict {
    let mut shop = CartShop::open(Stage::any().await).await;
    let mut load = load(&run, &shop);
    for moment in run.moments() {
        load.reached(moment / ORDERS_A_REGISTRATION).await;
        let marks = HeldMarks::hold(shop.users_database.own_url()).await;
        unready(&shop.producer, HeldMarks::REASON).await;
        shop.producer.kill();
        marks.release().await;
        shop.producer.start_again().await;
    }
    let verdict = settled(shop, load).await;
    // One record in the log for each kill at least was not marked.
    assert!(verdict.repeats as u64 >= run.rounds, "{verdict}");
    verdict
}

/// PostgreSQL, which has both databases, is stopped and started.
pub async fn postgres_restarted(run: Run) -> CartVerdict {
    let mut postgres = Postgres::start().await;
    let mut databases = Vec::new();
    for name in ["users", "carts"] {
        postgres.execute(&format!("CREATE DATABASE {name}"));
        databases.push(RemovableDatabase::at(postgres.url_of("postgres", name)).await);
    }
    let [users, carts] = databases.try_into().ok().expect("two databases");
    let mut shop = CartShop::open_on(Stage::any().await, users, carts, &[]).await;
    let mut load = load(&run, &shop);
    for moment in run.moments() {
        load.reached(moment / ORDERS_A_REGISTRATION).await;
        postgres.stop().await;
        for instance in [&shop.producer, &shop.consumer] {
            unready(instance, "database").await;
        }
        postgres.start_again().await;
        shop.ready().await;
    }
    settled(shop, load).await
}

/// Waits until the instance says that it lacks this.
async fn unready(instance: &Instance, what: &str) {
    eventually(PATIENCE, || async {
        let readiness = http::get(instance.address, "/readyz?strict").await;
        readiness.body.contains(what).then_some(())
    })
    .await;
}

fn load(run: &Run, shop: &CartShop) -> Registrations {
    let count = run.orders / ORDERS_A_REGISTRATION;
    Registrations::start(shop.producer.address, shop.consumer.address, count)
}

/// Waits for every customer and for all that follows, and checks it.
async fn settled(shop: CartShop, load: Registrations) -> CartVerdict {
    let registered = load.finish().await;
    shop.worked_off().await;
    let mut history = shop.gather().await;
    history.registered = registered;
    let verdict = check(&history);
    verdict.assert_clean();
    verdict
}
