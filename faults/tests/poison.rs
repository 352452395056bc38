//! Records that are no events of ours, and what becomes of their dead letters.

use faults::run::Run;
use faults::scenarios::{book_events, poison, replays};

#[tokio::test(flavor = "multi_thread")]
async fn poison_in_any_topic_becomes_dead_letters_and_what_is_behind_it_is_processed() {
    poison::kinds_of_poison(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_among_book_events_and_aggregates_becomes_dead_letters_and_the_figures_are_exact() {
    book_events::poisoned(Run::short_of(500, 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_dead_letter_topics_partitions_are_held_and_the_services_say_so() {
    poison::without_a_place_for_letters(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_at_any_point_replays_once_and_a_replay_is_replayed() {
    replays::killed(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_that_two_operators_compete_for_are_replayed_once_whatever_becomes_of_them() {
    replays::competing(Run::short()).await;
}
