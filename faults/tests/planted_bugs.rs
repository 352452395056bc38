//! The checker catches an order processor that is wrong, and lets one pass that is not.

use std::time::Duration;

use faults::checker::{Verdict, Violation};
use faults::history::Group;
use faults::processor::Processor;
use faults::run::Run;
use faults::shop::{Service, Shop, Stage};
use testkit::{ApiKey, ResponseError, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// Produces that are refused, a batch each.
const REFUSALS: u64 = 10;

/// A shop whose orders nobody processes.
async fn shop(stage: Stage) -> Shop {
    let mut shop = Shop::empty(stage).await;
    shop.add(Service::Producer, &[]).await;
    shop.add(Service::Notifier, &[]).await;
    shop
}

/// The processor is killed and started again while orders flow.
async fn killed(bug: &str) -> Verdict {
    let run = Run::short();
    let mut shop = shop(Stage::any().await).await;
    let mut processor = Processor::with_bug(&shop, bug);
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    for moment in run.moments() {
        load.reached(moment).await;
        committed(&shop).await;
        shop.fault("the processor was killed");
        processor.process.kill();
        processor.process.start_again();
    }
    load.enough();
    shop.settle(&plan, load).await.1
}

/// Waits until the processing has committed something.
async fn committed(shop: &Shop) {
    let admin = shop.client.admin();
    eventually(PATIENCE, || async {
        let committed = admin.committed_offsets(&shop.names.processing).await.ok()?;
        committed.values().any(|c| c.offset > 0).then_some(())
    })
    .await;
}

/// The broker refuses some of the processor's records while orders flow, now and then: a refusal
/// right behind another one may put right what a wrong retry made of it.
async fn refused(bug: &str) -> Verdict {
    let run = Run::short();
    let mut shop = shop(Stage::in_process().await).await;
    let _processor = Processor::with_bug(&shop, bug);
    let plan = run.plan();
    let mut load = shop.load(plan.clone());
    shop.fault("the broker refused records");
    let Stage::InProcess(kafka) = &shop.stage else {
        unreachable!("a stage in this process")
    };
    for refusal in 1..=REFUSALS {
        load.reached(refusal * run.orders / (2 * REFUSALS)).await;
        let produces = kafka.faults().on(ApiKey::Produce);
        let refused = produces
            .topic(&shop.names.statuses)
            .error(ResponseError::TopicAuthorizationFailed);
        refused.hit().await;
    }
    shop.settle(&plan, load).await.1
}

#[track_caller]
fn finds(verdict: &Verdict, what: &str, looks_like: impl Fn(&Violation) -> bool) {
    assert!(
        verdict.violations.iter().any(looks_like),
        "no {what}: {verdict}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_without_a_bug_passes_a_kill() {
    killed("none").await.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_without_a_bug_passes_refusals() {
    refused("none").await.assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_before_handling_is_caught() {
    let verdict = killed("commit-before-handling").await;
    finds(&verdict, "lost order", |violation| {
        matches!(violation, Violation::NoOutcome { .. })
    });
    finds(&verdict, "commit past it", |violation| {
        matches!(
            violation,
            Violation::CommitPastUnhandled {
                group: Group::Processing,
                handled: None,
                ..
            }
        )
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_retry_is_caught() {
    let verdict = refused("dropped-retry").await;
    finds(&verdict, "step that was dropped", |violation| {
        matches!(
            violation,
            Violation::NoOutcome { .. } | Violation::OutOfOrder { created: None, .. }
        )
    });
    finds(&verdict, "commit past it", |violation| {
        matches!(
            violation,
            Violation::CommitPastUnhandled {
                group: Group::Processing,
                handled: None,
                ..
            }
        )
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reordering_retry_is_caught() {
    let verdict = refused("reordering-retry").await;
    finds(&verdict, "step out of order", |violation| {
        matches!(
            violation,
            Violation::OutOfOrder {
                created: Some(_),
                ..
            }
        )
    });
    let other = verdict
        .violations
        .iter()
        .find(|violation| !matches!(violation, Violation::OutOfOrder { .. }));
    assert_eq!(other, None, "{verdict}");
}
