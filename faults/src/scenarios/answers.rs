//! A broker whose answers are lost, wrong or late. Only the embedded one can be made to do that; the
//! services are processes all the same.
//!
//! None of it is an excuse for a record that is there twice: no fault is noted, so that the checker
//! explains none away.

use std::time::Duration;

use broker::{ApiKey, Fault, FaultBuilder, ResponseError};
use futures::future::join_all;

use super::settled;
use crate::checker::Verdict;
use crate::run::Run;
use crate::shop::{Names, Shop, Stage};

/// `KAFKA_REQUEST_TIMEOUT` where answers come later than that.
const TIMEOUT: &str = "1s";

/// Later than that, and than a fetch waits for records.
const LATE: Duration = Duration::from_millis(2_500);

/// Acknowledgements of produce requests are lost with their connection, a few in a row.
pub async fn acknowledgement_lost(run: Run) -> Verdict {
    produced(run, |fault| fault.times(3).lose_acknowledgement()).await
}

/// A produce is answered NOT_LEADER_OR_FOLLOWER: at first one that was not stored, then one that
/// was.
pub async fn not_leader(run: Run) -> Verdict {
    let mut stored = false;
    produced(run, move |fault| {
        stored = !stored;
        if stored {
            fault.error_after(ResponseError::NotLeaderOrFollower)
        } else {
            fault.error(ResponseError::NotLeaderOrFollower)
        }
    })
    .await
}

/// The answers to fetches come after their timeout.
pub async fn fetch_delayed(run: Run) -> Verdict {
    let flags = [("kafka-request-timeout", TIMEOUT)];
    answered(run, &flags, ApiKey::Fetch, |fault| fault.delay_answer(LATE)).await
}

/// The coordinator of every group moves, and cannot be found at first. Members stay members.
pub async fn coordinator_moved(run: Run) -> Verdict {
    const REFUSED: u64 = 3;
    const LOOKUPS: u64 = 2;
    let mut shop = Shop::open(Stage::in_process().await).await;
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    for moment in run.moments() {
        load.reached(moment).await;
        shop.fault("coordinators moved");
        let faults = shop.stage.broker().faults().clone();
        let groups = shop.names.groups().into_iter();
        let moves: Vec<_> = groups
            .map(|(_, group)| faults.move_coordinator(&group, REFUSED, LOOKUPS))
            .collect();
        for moved in &moves {
            moved.refused.hit_times(REFUSED).await;
            moved.lookups.hit_times(LOOKUPS).await;
        }
    }
    load.enough();
    settled(shop, &plan, load).await.1
}

async fn produced(run: Run, fault: impl FnMut(FaultBuilder) -> Fault) -> Verdict {
    answered(run, &[], ApiKey::Produce, fault).await
}

/// Makes a fault of each topic's requests at each moment, while orders flow.
async fn answered(
    run: Run,
    flags: &[(&str, &str)],
    api: ApiKey,
    mut fault: impl FnMut(FaultBuilder) -> Fault,
) -> Verdict {
    let mut shop = Shop::open_with(Stage::in_process().await, flags).await;
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    let mut random = run.random();
    let mut made = 0;
    for moment in run.moments() {
        load.reached(moment).await;
        let faults = shop.stage.broker().faults().clone();
        let rules: Vec<_> = topics(&shop.names)
            .map(|topic| fault(faults.on(api).topic(topic).skip(random.u64(..20))))
            .collect();
        join_all(rules.iter().map(Fault::hit)).await;
        made += rules.len();
    }
    load.enough();
    let (_, verdict) = settled(shop, &plan, load).await;
    println!("{made} faults of {api:?}");
    assert_eq!(verdict.requests, verdict.accepted, "refused: {verdict}");
    assert_eq!(verdict.duplicates.total(), 0, "{verdict}");
    verdict
}

fn topics(names: &Names) -> impl Iterator<Item = &str> {
    [
        &names.orders,
        &names.snake_orders,
        &names.statuses,
        &names.notifications,
    ]
    .into_iter()
    .map(String::as_str)
}
