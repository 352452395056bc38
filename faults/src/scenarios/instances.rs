//! Several instances of consumer-svc that share the work: they come, go, restart and freeze.

use std::time::Duration;

use testkit::eventually;

use crate::checker::Verdict;
use crate::load::Load;
use crate::run::Run;
use crate::shop::{Service, Shop, Stage};

/// How long a group may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// A second instance joins and leaves, again and again.
pub async fn joining_and_leaving(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::any().await).await;
    let mut load = shop.load(run.steady_plan());
    for moment in run.moments() {
        load.reached(moment).await;
        shop.fault("a second consumer-svc came and went");
        shop.add(Service::Consumer, &[]).await;
        members(&shop, 2).await;
        let mut second = shop.instances(Service::Consumer).pop().expect("the second");
        assert!(second.end().await.success());
        members(&shop, 1).await;
        shop.fault_over();
    }
    settled(shop, &run, load).await
}

/// Three instances are restarted in turn, by SIGTERM, as a deployment does it.
pub async fn rolling_restarts(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::any().await).await;
    shop.add(Service::Consumer, &[]).await;
    shop.add(Service::Consumer, &[]).await;
    members(&shop, 3).await;
    let mut load = shop.load(run.steady_plan());
    for moment in run.moments() {
        load.reached(moment).await;
        for number in 0..3 {
            shop.fault("consumer-svc restarted");
            let instance = &mut shop.instances(Service::Consumer)[number];
            assert!(instance.end().await.success());
            instance.start_again().await;
            members(&shop, 3).await;
            shop.fault_over();
        }
    }
    settled(shop, &run, load).await
}

/// An instance is stopped (SIGSTOP) until its session is over and another has its partitions, then
/// woken: it must not commit what is no longer its own.
pub async fn frozen(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::any().await).await;
    shop.add(Service::Consumer, &[]).await;
    members(&shop, 2).await;
    let mut load = shop.load(run.steady_plan());
    for (round, moment) in run.moments().into_iter().enumerate() {
        load.reached(moment).await;
        shop.fault("consumer-svc frozen for longer than its session");
        let number = round % 2;
        shop.instances(Service::Consumer)[number].process.freeze();
        members(&shop, 1).await;
        shop.instances(Service::Consumer)[number].process.thaw();
        members(&shop, 2).await;
        shop.fault_over();
    }
    settled(shop, &run, load).await
}

/// Waits until the group of the processing is at rest with so many members.
async fn members(shop: &Shop, number: usize) {
    let admin = shop.client.admin();
    eventually(PATIENCE, || async {
        let groups = admin
            .describe_groups(&[&shop.names.processing])
            .await
            .ok()?;
        let group = groups.first()?;
        (group.state == "Stable" && group.members.len() == number).then_some(())
    })
    .await;
}

async fn settled(mut shop: Shop, run: &Run, load: Load) -> Verdict {
    load.enough();
    let (_, verdict) = shop.settle(&run.steady_plan(), load).await;
    verdict.assert_clean();
    assert_eq!(verdict.accepted, verdict.orders);
    verdict
}
