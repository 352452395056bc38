//! Users and carts while services are killed.

use faults::run::Run;
use faults::scenarios::registrations;

/// 80 registrations, some seconds of hashing, and one kill: a killed relay's lease is waited out for ten
/// seconds each time.
fn short() -> Run {
    Run::short_of(800, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_has_one_cart_though_consumer_svc_is_killed() {
    registrations::consumer_killed(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_has_one_cart_though_producer_svc_is_killed() {
    registrations::producer_killed(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_killed_between_publishing_and_marking_loses_and_reorders_nothing() {
    registrations::relay_killed(short()).await;
}
