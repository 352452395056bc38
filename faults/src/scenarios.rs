//! Every fault as a story: what is done to a shop while orders flow, and what must be true in the
//! end. Short in `cargo test`, long in `just chaos`.

pub mod answers;
pub mod book_events;
pub mod broker;
pub mod cluster;
pub mod copies;
pub mod database;
pub mod disk;
pub mod instances;
pub mod killed;
pub mod network;
pub mod poison;
pub mod postgres;
pub mod registrations;
pub mod replays;
pub mod restarts;
pub mod shutdown;
pub mod slow;
pub mod sqlite;

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use tokio::time::timeout;

use crate::checker::Verdict;
use crate::history::History;
use crate::load::{Load, LoadPlan};
use crate::run::Run;
use crate::shop::Shop;

/// How soon after a fault orders are taken again, at the latest.
const RECOVERY: Duration = Duration::from_secs(60);

/// A scenario by its name.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// Variables without which it cannot run.
    pub needs: &'static [&'static str],
    run: fn(Run) -> BoxFuture<'static, String>,
}

impl Scenario {
    /// Runs it; gives what it came to, for people.
    ///
    /// # Panics
    /// When something is lost, invented or reordered, naming it.
    pub async fn run(&self, run: Run) -> String {
        (self.run)(run).await
    }
}

/// Waits until orders are taken again.
///
/// # Panics
/// When that takes too long.
async fn again(load: &mut Load) {
    /// More than may have been on their way to an answer when the fault was made.
    const ORDERS: u64 = 100;
    let taken = load.accepted() + ORDERS;
    let reached = timeout(RECOVERY, load.reached(taken)).await;
    assert!(
        reached.is_ok(),
        "no orders were taken {RECOVERY:?} after a fault"
    );
}

/// Waits until all is worked off, and holds the run to what is promised: whatever happened, every
/// order was accepted in the end.
async fn settled(mut shop: Shop, plan: &LoadPlan, load: Load) -> (History, Verdict) {
    let (history, verdict) = shop.settle(plan, load).await;
    verdict.assert_clean();
    assert_eq!(verdict.accepted, verdict.orders, "{verdict}");
    (history, verdict)
}

macro_rules! scenarios {
    ($($name:literal: $run:path, $about:literal $(, needs $($needs:literal)+)?;)*) => {
        /// Every scenario.
        pub const ALL: &[Scenario] = &[$(Scenario {
            name: $name,
            about: $about,
            needs: &[$($($needs),+)?],
            run: |run| $run(run).map(|verdict| verdict.to_string()).boxed(),
        }),*];
    };
}

scenarios! {
    "consumer-killed": killed::consumer, "consumer-svc is killed and restarted";
    "producer-killed": killed::producer, "producer-svc is killed and restarted";
    "notifier-killed": killed::notifier, "notifier-svc is killed and restarted";
    "joining-and-leaving": instances::joining_and_leaving, "a second consumer-svc comes and goes";
    "restarted-standalone": restarts::standalone, "the standalone shop is killed and restarted; times to the first record";
    "restarted-services": restarts::services, "so is each service, with a data folder of its own";
    "restarted-containers": restarts::scaled, "so is one of three consumer-svc that have names and no folder";
    "one-name-for-two": restarts::one_name_for_two, "two consumer-svc have one name by mistake";
    "one-configured-name-for-two": restarts::one_configured_name_for_two, "so they do, and somebody chose it";
    "rolling-to-static": restarts::rolling_to_static, "consumer-svc without names are replaced by ones with names, and by new names";
    "rolling-restarts": instances::rolling_restarts, "three consumer-svc are restarted in turn";
    "sqlite-locked": sqlite::locked, "another writer holds the lock of the SQLite files";
    "sqlite-locked-at-start": sqlite::locked_at_start, "so it is when the services end and start";
    "sqlite-full": sqlite::full, "the SQLite files cannot grow";
    "sqlite-moved": sqlite::moved, "the folder of the SQLite files is moved away";
    "sqlite-slow": sqlite::slow, "another writer holds the lock again and again";
    "postgres-stopped": postgres::stopped, "PostgreSQL is stopped", needs "TEST_POSTGRES_BIN";
    "postgres-stopped-at-start": postgres::stopped_at_start, "so it is when the services end and start", needs "TEST_POSTGRES_BIN";
    "postgres-frozen": postgres::frozen, "PostgreSQL takes connections and answers nothing", needs "TEST_POSTGRES_BIN";
    "postgres-frozen-at-start": postgres::frozen_at_start, "so it is when the services end and start", needs "TEST_POSTGRES_BIN";
    "postgres-terminated": postgres::terminated, "PostgreSQL ends its connections and takes no new ones", needs "TEST_POSTGRES_BIN";
    "postgres-read-only": postgres::read_only, "PostgreSQL is read-only, as a standby is", needs "TEST_POSTGRES_BIN";
    "postgres-tables-full": postgres::tables_full, "the disk of PostgreSQL's tables is full", needs "TEST_POSTGRES_BIN" "TEST_MOUNTS";
    "postgres-log-full": postgres::log_full, "the disk of PostgreSQL's write-ahead log is full", needs "TEST_POSTGRES_BIN" "TEST_MOUNTS";
    "postgres-slow": postgres::slow, "PostgreSQL answers 0.2 to 3 s late", needs "TEST_POSTGRES_BIN";
    "poison": poison::kinds_of_poison, "records that are no events, in every topic that is consumed";
    "poison-in-book-events": book_events::poisoned, "so they lie in the topics of book events and aggregates";
    "letters-held": poison::without_a_place_for_letters, "the dead-letter topics are not there";
    "replays-killed": replays::killed, "dlt replay is killed at any point, and replays are replayed";
    "replays-competing": replays::competing, "two operators replay the same letters, are killed and stand still";
    "terminated": shutdown::every_service, "SIGTERM under load, and nothing twice after the restart";
    "waiting-order": shutdown::behind_a_waiting_order, "a restart with one order in back-off, thousands done behind it";
    "stuck-handler": shutdown::behind_a_stuck_handler, "a handler that does not return, and a restart";
    "held-letter": shutdown::behind_a_held_letter, "consumer-svc restarted while a dead letter is refused, thousands done behind it";
    "refused-events": shutdown::behind_refused_events, "consumer-svc restarted while a few orders' events are refused";
    "no-leader": shutdown::without_a_leader, "consumer-svc restarted while a partition of its events has no leader";
    "frozen": instances::frozen, "a consumer-svc is stopped past its session, then woken";
    "broker-killed": broker::killed, "the broker is killed and restarted";
    "broker-gone": broker::gone, "the broker is gone for a while; intake answers 503";
    "connections-cut": network::cut, "every connection to Kafka is cut every 0.5 to 1.5 s";
    "slow-link": network::slow, "a link to Kafka with 200 ms of latency each way";
    "silent-link": network::silent, "a link to Kafka that swallows packets without closing";
    "acknowledgement-lost": answers::acknowledgement_lost, "acknowledgements are lost";
    "not-leader": answers::not_leader, "a produce is answered NOT_LEADER_OR_FOLLOWER";
    "fetch-delayed": answers::fetch_delayed, "a fetch is answered after its timeout";
    "coordinator-moved": answers::coordinator_moved, "the coordinators of all groups move";
    "disk-full": disk::full, "the disk of the embedded broker is full";
    "orders-copied": copies::of_orders, "orders lie in their topic more than once";
    "registrations-consumer-killed": registrations::consumer_killed, "users register while consumer-svc is killed (one for ten orders)";
    "registrations-producer-killed": registrations::producer_killed, "so they do while producer-svc is killed";
    "registrations-relay-killed": registrations::relay_killed, "the relay is killed between publishing and marking";
    "registrations-postgres": registrations::postgres_restarted, "users register while PostgreSQL is restarted", needs "TEST_POSTGRES_BIN";
    "book-events-consumer-killed": book_events::consumer_killed, "events of books, each twice, while three consumer-svc are killed in turn";
    "book-events-postgres": book_events::postgres_restarted, "so they come while PostgreSQL is stopped at once and restarted", needs "TEST_POSTGRES_BIN";
    "cluster-killed": cluster::nodes_killed, "one of three nodes is killed, then the next", needs "TEST_KAFKA_HOME";
    "cluster-leaders": cluster::leaders_moved, "leaders move between three nodes", needs "TEST_KAFKA_HOME";
    "cluster-partitions": cluster::partitions_added, "partitions are added to topics in use", needs "TEST_KAFKA_HOME";
}
