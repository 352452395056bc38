//! Every fault as a story: what is done to a shop while orders flow, and what must be true in the
//! end. Short in `cargo test`, long in `just chaos`.

pub mod database;
pub mod instances;
pub mod killed;
pub mod poison;
pub mod postgres;
pub mod replays;
pub mod shutdown;
pub mod sqlite;

use futures::future::{BoxFuture, FutureExt};

use crate::checker::Verdict;
use crate::run::Run;

/// A scenario by its name.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    /// Variables without which it cannot run.
    pub needs: &'static [&'static str],
    run: fn(Run) -> BoxFuture<'static, Verdict>,
}

impl Scenario {
    /// Runs it.
    ///
    /// # Panics
    /// When something is lost, invented or reordered, naming it.
    pub async fn run(&self, run: Run) -> Verdict {
        (self.run)(run).await
    }
}

macro_rules! scenarios {
    ($($name:literal: $run:path, $about:literal $(, needs $needs:literal)?;)*) => {
        /// Every scenario.
        pub const ALL: &[Scenario] = &[$(Scenario {
            name: $name,
            about: $about,
            needs: &[$($needs)?],
            run: |run| $run(run).boxed(),
        }),*];
    };
}

scenarios! {
    "consumer-killed": killed::consumer, "consumer-svc is killed and restarted";
    "producer-killed": killed::producer, "producer-svc is killed and restarted";
    "notifier-killed": killed::notifier, "notifier-svc is killed and restarted";
    "joining-and-leaving": instances::joining_and_leaving, "a second consumer-svc comes and goes";
    "rolling-restarts": instances::rolling_restarts, "three consumer-svc are restarted in turn";
    "sqlite-locked": sqlite::locked, "another writer holds the lock of the SQLite files";
    "sqlite-locked-at-start": sqlite::locked_at_start, "so it is when the services end and start";
    "sqlite-full": sqlite::full, "the SQLite files cannot grow";
    "sqlite-moved": sqlite::moved, "the folder of the SQLite files is moved away";
    "postgres-stopped": postgres::stopped, "PostgreSQL is stopped", needs "TEST_POSTGRES_BIN";
    "postgres-stopped-at-start": postgres::stopped_at_start, "so it is when the services end and start", needs "TEST_POSTGRES_BIN";
    "postgres-frozen": postgres::frozen, "PostgreSQL takes connections and answers nothing", needs "TEST_POSTGRES_BIN";
    "postgres-frozen-at-start": postgres::frozen_at_start, "so it is when the services end and start", needs "TEST_POSTGRES_BIN";
    "postgres-terminated": postgres::terminated, "PostgreSQL ends its connections and takes no new ones", needs "TEST_POSTGRES_BIN";
    "postgres-read-only": postgres::read_only, "PostgreSQL is read-only, as a standby is", needs "TEST_POSTGRES_BIN";
    "poison": poison::kinds_of_poison, "records that are no orders, among those that are";
    "letters-held": poison::without_a_place_for_letters, "the dead-letter topic is not there";
    "replays-killed": replays::killed, "dlt replay is killed at any point, and replays are replayed";
    "replays-at-once": replays::two_at_once, "two operators replay the same letters at the same moment";
    "terminated": shutdown::every_service, "SIGTERM under load, and nothing twice after the restart";
    "waiting-order": shutdown::behind_a_waiting_order, "a restart with one order in back-off, thousands done behind it";
    "stuck-handler": shutdown::behind_a_stuck_handler, "a handler that does not return, and a restart";
    "frozen": instances::frozen, "a consumer-svc is stopped past its session, then woken";
}
