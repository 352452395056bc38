//! Records that are no orders, and what becomes of their dead letters.

use faults::run::Run;
use faults::scenarios::{poison, replays};

#[tokio::test(flavor = "multi_thread")]
async fn poison_among_orders_becomes_dead_letters_and_the_orders_behind_it_are_processed() {
    poison::kinds_of_poison(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_dead_letter_topic_the_partition_is_held_and_the_service_says_so() {
    poison::without_a_place_for_letters(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_at_any_point_replays_once_and_a_replay_is_replayed() {
    replays::killed(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_two_operators_replay_at_once_is_one_order_all_the_same() {
    replays::two_at_once(Run::short()).await;
}
