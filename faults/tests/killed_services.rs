//! Services that are killed in the middle of their work.

use faults::run::Run;
use faults::scenarios::killed;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_consumer_svc_loses_nothing() {
    killed::consumer(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_producer_svc_loses_nothing() {
    killed::producer(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_notifier_svc_loses_nothing() {
    killed::notifier(Run::short()).await;
}
