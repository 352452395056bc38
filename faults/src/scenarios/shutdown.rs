//! SIGTERM in the middle of the work: requests in flight are answered, all that is done is
//! committed, the exit status is 0, and after the restart nothing is done twice. No fault is noted
//! here, so that the checker finds every duplicate.

use std::time::Duration;

use testkit::eventually;

use crate::checker::Verdict;
use crate::gather;
use crate::history::{Answer, History};
use crate::load::LoadPlan;
use crate::processor::{Processor, Trouble};
use crate::run::Run;
use crate::shop::{Instance, Service, Shop, Stage};

/// How long a processor may take with all orders but one.
const PATIENCE: Duration = Duration::from_secs(180);

/// Every service in turn, again and again.
pub async fn every_service(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::any().await).await;
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    for moment in run.moments() {
        load.reached(moment).await;
        for service in [Service::Consumer, Service::Notifier, Service::Producer] {
            let instance = &mut shop.instances(service)[0];
            end_well(instance).await;
            instance.start_again().await;
            instance.ready().await;
        }
    }
    load.enough();
    let (history, verdict) = shop.settle(&plan, load).await;
    nothing_twice(&history, &verdict);
    let silent: Vec<_> = history
        .requests
        .iter()
        .filter(|request| request.answer == Answer::Silent)
        .collect();
    assert!(silent.is_empty(), "left without an answer: {silent:?}");
    verdict
}

async fn end_well(instance: &mut Instance) {
    let status = instance.end().await;
    let output = instance.process.output();
    assert!(status.success(), "{status}: {output}");
    assert!(output.contains("ended orderly"), "{output}");
}

/// One order waits in back-off, thousands are done behind it: after the restart these are passed
/// over, and that one is processed.
pub async fn behind_a_waiting_order(run: Run) -> Verdict {
    behind_one(run, Trouble::Retries).await
}

/// The handler is stuck with one order: it is named, and the others go on.
pub async fn behind_a_stuck_handler(run: Run) -> Verdict {
    behind_one(run, Trouble::Stuck).await
}

/// Whether an error says which record a handler has had for how long.
fn names_the_stuck(output: &str) -> bool {
    let words = ["ERROR", "topic=", "partition=", "offset=", "age_ms="];
    let named = |line: &str| words.iter().all(|word| line.contains(word));
    output.lines().any(named)
}

async fn behind_one(run: Run, trouble: Trouble) -> Verdict {
    let mut shop = Shop::empty(Stage::any().await).await;
    shop.add(Service::Producer, &[]).await;
    shop.add(Service::Notifier, &[]).await;
    let plan = LoadPlan {
        orders: run.orders,
        ..run.steady_plan()
    };
    let mut processor = Processor::with_trouble(&shop, trouble, &plan.order(0));
    let mut load = shop.load(plan.clone());
    load.reached(run.orders).await;
    all_but_one(&shop, run.orders).await;
    if trouble == Trouble::Stuck {
        let named = |output: &str| names_the_stuck(output).then_some(());
        processor.process.eventually(PATIENCE, named).await;
    }
    let status = processor.process.end().await;
    assert!(status.success(), "{status}: {}", processor.process.output());
    processor.end_trouble();
    processor.process.start_again();
    let (history, verdict) = shop.settle(&plan, load).await;
    nothing_twice(&history, &verdict);
    assert_eq!(verdict.accepted as u64, run.orders);
    verdict
}

/// Waits until all orders but one are told of.
async fn all_but_one(shop: &Shop, orders: u64) {
    let topic = [shop.names.notifications.clone()];
    eventually(PATIENCE, || async {
        let ends = gather::ends(&shop.client, &topic).await;
        (ends.values().sum::<i64>() as u64 == orders - 1).then_some(())
    })
    .await;
}

#[track_caller]
fn nothing_twice(history: &History, verdict: &Verdict) {
    verdict.assert_clean();
    assert_eq!(verdict.duplicates.total(), 0, "{verdict}");
    assert_eq!(history.orders.len(), verdict.accepted, "{verdict}");
}
