//! Services that are asked to end in the middle of their work.

use faults::run::Run;
use faults::scenarios::shutdown;

#[tokio::test(flavor = "multi_thread")]
async fn services_end_in_order_under_load_and_nothing_is_done_twice() {
    shutdown::every_service(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_passes_over_what_was_done_behind_a_waiting_order() {
    shutdown::behind_a_waiting_order(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_handler_is_named_and_the_others_go_on() {
    shutdown::behind_a_stuck_handler(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_passes_over_what_was_done_behind_a_held_letter() {
    shutdown::behind_a_held_letter(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_whose_events_are_refused_wait_over_a_restart_and_repeat_no_others() {
    shutdown::behind_refused_events(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_stuck_for_want_of_a_leader_are_named_and_the_others_go_on() {
    shutdown::without_a_leader(Run::short()).await;
}
