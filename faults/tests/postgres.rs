//! PostgreSQL in trouble: intake goes on, what needs the database waits, nothing is lost or blamed.

use faults::run::Run;
use faults::scenarios::{book_events, postgres, registrations};

fn short() -> Run {
    Run::short_of(200, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_is_waited_for() {
    postgres::stopped(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_end_and_start_while_their_server_is_stopped() {
    postgres::stopped_at_start(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_nothing_is_waited_for() {
    postgres::frozen(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_end_and_start_while_their_server_answers_nothing() {
    postgres::frozen_at_start(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_connections_are_opened_again_when_the_server_lets_them() {
    postgres::terminated(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_is_waited_for() {
    postgres::read_only(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_kept_up_with() {
    postgres::slow(short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_has_one_cart_though_the_server_is_restarted() {
    registrations::postgres_restarted(Run::short_of(600, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn book_events_count_once_though_the_server_is_stopped_at_once() {
    book_events::postgres_restarted(Run::short_of(1_500, 1)).await;
}
