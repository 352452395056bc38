//! The broker is killed (SIGKILL) under load and comes back, at once or after a while.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{again, settled};
use crate::checker::Verdict;
use crate::history::{Answer, now};
use crate::run::Run;
use crate::shop::{Shop, Stage};

/// `REQUEST_TIMEOUT` of the services here.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// What a busy machine may add to the time of an answer.
pub(super) const SLACK: Duration = Duration::from_secs(3);

/// Killed and restarted: what it acknowledged is still there, and what it had not comes again.
pub async fn killed(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::own(None).await).await;
    let plan = run.plan();
    let mut load = shop.load(plan.clone());
    for moment in run.moments() {
        load.reached(moment).await;
        shop.fault("the broker killed");
        shop.stage.kill().await;
        shop.stage.restart().await;
    }
    settled(shop, &plan, load).await.1
}

/// Gone for a while: intake says so within its timeout, and takes orders again by itself.
pub async fn gone(run: Run) -> Verdict {
    let stage = Stage::own(None).await;
    let mut shop = Shop::open_with(stage, &[("request-timeout", "2s")]).await;
    shop.answers_within(REQUEST_TIMEOUT + SLACK);
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    let mut outages = Vec::new();
    for moment in run.moments() {
        load.reached(moment).await;
        shop.fault(format!("the broker gone for {:?}", run.outage));
        shop.stage.kill().await;
        let from = now();
        sleep(run.outage).await;
        outages.push(from..now());
        shop.stage.restart().await;
        let back = Instant::now();
        again(&mut load).await;
        println!("orders again {:.1?} after the broker", back.elapsed());
    }
    load.enough();
    let (history, verdict) = settled(shop, &plan, load).await;
    for outage in outages {
        let (mut refused, mut longest) = (0, 0);
        for request in &history.requests {
            if !outage.contains(&request.answered) {
                continue;
            }
            let was_refused = matches!(request.answer, Answer::Refused(_));
            assert!(
                was_refused || !outage.contains(&request.sent),
                "while the broker was gone: {request:?}"
            );
            if was_refused {
                refused += 1;
                longest = longest.max(request.answered - request.sent);
            }
        }
        assert!(refused > 0, "nobody was refused while the broker was gone");
        println!("{refused} times 503 while the broker was gone, each within {longest} ms");
    }
    verdict
}
