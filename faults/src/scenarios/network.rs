//! The network between Kafka and the services: connections that are cut, a slow link, a silent one.

use std::time::Duration;

use tokio::time::sleep;

use super::broker::{REQUEST_TIMEOUT, SLACK};
use super::{again, settled};
use crate::checker::Verdict;
use crate::load::LoadPlan;
use crate::proxy::Proxy;
use crate::run::Run;
use crate::shop::{Shop, Stage};

/// How much longer everything takes on a slow link, each way.
const LATENCY: Duration = Duration::from_millis(200);

/// Connections on a slow link: as many orders are on their way at a time.
const ON_THEIR_WAY: usize = 256;

/// Every connection is cut every 0.5 to 1.5 s, and now and then none can be made for a while.
pub async fn cut(run: Run) -> Verdict {
    let (proxy, mut shop) = behind_proxy(&[]).await;
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    shop.fault("connections cut");
    let mut cuts = 0;
    tokio::select! {
        () = cutting(&proxy, run.random(), &mut cuts) => {}
        () = load.reached(run.orders) => {}
    }
    proxy.refuse(false);
    load.enough();
    println!("every connection cut {cuts} times");
    settled(shop, &plan, load).await.1
}

async fn cutting(proxy: &Proxy, mut random: fastrand::Rng, cuts: &mut u64) {
    loop {
        sleep(Duration::from_millis(random.u64(500..1_500))).await;
        *cuts += 1;
        if random.u8(..4) == 0 {
            proxy.refuse(true);
            sleep(Duration::from_millis(random.u64(..300))).await;
            proxy.refuse(false);
        } else {
            proxy.cut();
        }
    }
}

/// Everything takes 200 ms longer each way: no order is refused for it, and nothing is sent twice.
pub async fn slow(run: Run) -> Verdict {
    let (proxy, shop) = behind_proxy(&[]).await;
    proxy.slow(LATENCY);
    let plan = LoadPlan {
        connections: ON_THEIR_WAY,
        ..run.steady_plan()
    };
    let mut load = shop.load(plan.clone());
    load.reached(run.orders).await;
    load.enough();
    let (_, verdict) = settled(shop, &plan, load).await;
    assert_eq!(verdict.requests, verdict.accepted, "refused: {verdict}");
    assert_eq!(verdict.duplicates.total(), 0, "{verdict}");
    verdict
}

/// Nothing gets through for a while, and nothing is closed: intake answers within its timeout, and
/// what lands late, when the link is sound again, changes nothing.
pub async fn silent(run: Run) -> Verdict {
    let flags = [("request-timeout", "2s"), ("kafka-request-timeout", "3s")];
    let (proxy, mut shop) = behind_proxy(&flags).await;
    shop.answers_within(REQUEST_TIMEOUT + SLACK);
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    for moment in run.moments() {
        load.reached(moment).await;
        shop.fault(format!("a silent link for {:?}", run.outage));
        proxy.silence(true);
        sleep(run.outage).await;
        proxy.silence(false);
        again(&mut load).await;
    }
    load.enough();
    settled(shop, &plan, load).await.1
}

async fn behind_proxy(flags: &[(&str, &str)]) -> (Proxy, Shop) {
    let proxy = Proxy::bind().await;
    let stage = Stage::own(Some(proxy.address())).await;
    proxy.lead_to(stage.behind_proxy());
    (proxy, Shop::open_with(stage, flags).await)
}
