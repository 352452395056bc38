//! Three nodes of Apache Kafka under the shop.

use faults::run::Run;
use faults::scenarios::cluster;

#[tokio::test(flavor = "multi_thread")]
async fn nodes_killed_one_after_another_lose_nothing() {
    cluster::nodes_killed(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_leaders_lose_nothing() {
    cluster::leaders_moved(Run::short()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn added_partitions_are_used_and_read_from_their_first_record() {
    cluster::partitions_added(Run::short()).await;
}
