//! The broker is killed, or gone for a while.

use faults::run::Run;
use faults::scenarios::broker;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_loses_nothing() {
    broker::killed(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_broker_is_gone_intake_answers_503_in_time_and_recovers_by_itself() {
    broker::gone(Run::short()).await;
}
