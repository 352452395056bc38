//! An embedded broker that misbehaves: answers lost, wrong or late, a full disk.

use faults::run::Run;
use faults::scenarios::{answers, disk};

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_duplicates_nothing_in_the_shop() {
    answers::acknowledgement_lost(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_the_leader_is_asked_again() {
    answers::not_leader(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_answered_too_late_loses_nothing() {
    answers::fetch_delayed(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinators_that_move_lose_nothing() {
    answers::coordinator_moved(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_recovers() {
    disk::full(Run::short()).await;
}
