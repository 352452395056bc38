//! Every fault as a story: what is done to a shop while orders flow, and what must be true in the
//! end. Short in `cargo test`, long in `just chaos`.

pub mod instances;
pub mod killed;

use futures::future::{BoxFuture, FutureExt};

use crate::checker::Verdict;
use crate::run::Run;

/// A scenario by its name.
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
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
    ($($name:literal: $run:path, $about:literal;)*) => {
        /// Every scenario.
        pub const ALL: &[Scenario] = &[$(Scenario {
            name: $name,
            about: $about,
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
    "frozen": instances::frozen, "a consumer-svc is stopped past its session, then woken";
}
