//! A bad network between Kafka and the services.

use faults::run::Run;
use faults::scenarios::network;

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_lose_nothing() {
    network::cut(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_link_refuses_nothing_and_duplicates_nothing() {
    network::slow(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_link_is_answered_in_time_and_loses_nothing() {
    network::silent(Run::short()).await;
}
