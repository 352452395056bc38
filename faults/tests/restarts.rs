//! Who was killed and is back works at once, under the name by which Kafka knows it again.

use faults::run::Run;
use faults::scenarios::restarts;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_standalone_shop_is_back_at_once_in_every_group() {
    restarts::standalone(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_killed_service_is_back_at_once() {
    restarts::services(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_container_of_several_is_back_at_once_and_the_others_notice_nothing() {
    restarts::scaled(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_one_name_do_not_fight_and_the_first_is_degraded() {
    restarts::one_name_for_two(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_of_one_configured_name_the_first_ends() {
    restarts::one_configured_name_for_two(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_to_names_and_to_new_names_waits_for_no_session() {
    restarts::rolling_to_static(Run::short()).await;
}
