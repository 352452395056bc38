//! The disk of the embedded broker.

use broker::DiskFault;

use super::broker::{REQUEST_TIMEOUT, SLACK};
use super::{again, settled};
use crate::checker::Verdict;
use crate::history::Answer;
use crate::run::Run;
use crate::shop::{Shop, Stage};

/// Most bytes that still fit once it is said to be full: a write in the middle of a batch fails.
const LEFT: u64 = 20_000;

/// The disk is full, then there is space again; every other time only after the broker is killed and
/// restarted.
pub async fn full(run: Run) -> Verdict {
    let flags = [("request-timeout", "2s")];
    let mut shop = Shop::open_with(Stage::in_process().await, &flags).await;
    shop.answers_within(REQUEST_TIMEOUT + SLACK);
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    let mut random = run.random();
    for (round, moment) in run.moments().into_iter().enumerate() {
        load.reached(moment).await;
        shop.fault("the disk full");
        let full = DiskFault::Full {
            after_bytes: random.u64(..LEFT),
        };
        shop.stage.broker().faults().disk(Some(full));
        load.refused_again().await;
        if round % 2 == 0 {
            shop.stage.broker().faults().disk(None);
        } else {
            // The restarted broker has a sound disk.
            shop.stage.kill().await;
            shop.stage.restart().await;
        }
        again(&mut load).await;
    }
    load.enough();
    let (history, verdict) = settled(shop, &plan, load).await;
    let refused = history.requests.iter();
    let refused = refused.filter(|request| matches!(request.answer, Answer::Refused(_)));
    println!("{} times 503 for want of space", refused.count());
    verdict
}
