//! Several instances of consumer-svc that come, go, restart and freeze.

use faults::run::Run;
use faults::scenarios::instances;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_comes_and_goes() {
    instances::joining_and_leaving(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_instances_are_restarted_in_turn() {
    instances::rolling_restarts(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_instance_wakes_and_commits_nothing_that_is_not_its_own() {
    instances::frozen(Run::short()).await;
}
