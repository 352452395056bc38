//! How large a run of a scenario is, and its seed.

use std::fmt;
use std::time::Duration;

use crate::load::LoadPlan;

/// Repeats a run: the seed that it printed.
const SEED_VARIABLE: &str = "FAULTS_SEED";

/// Orders a second that two busy cores keep up with, tests beside them.
const STEADY_RATE: u64 = 500;

/// One run of a scenario. What is random in it comes from its seed; when the processes do what is
/// up to the machine all the same.
#[derive(Debug, Clone)]
pub struct Run {
    pub seed: u64,
    /// Orders in all.
    pub orders: u64,
    /// How often the fault is made.
    pub rounds: u64,
    /// How long something stays away.
    pub outage: Duration,
}

impl Run {
    /// As `cargo test` runs it, in seconds. The seed is that of `FAULTS_SEED`, otherwise a new one.
    ///
    /// # Panics
    /// When `FAULTS_SEED` is no number.
    pub fn short() -> Self {
        Self::short_of(2_000, 2)
    }

    /// Like [`Run::short`], of another size.
    ///
    /// # Panics
    /// When `FAULTS_SEED` is no number.
    pub fn short_of(orders: u64, rounds: u64) -> Self {
        let seed = match std::env::var(SEED_VARIABLE) {
            Ok(seed) => seed
                .parse()
                .unwrap_or_else(|_| panic!("{SEED_VARIABLE} must be a number, not {seed:?}")),
            Err(_) => fastrand::u64(..),
        };
        let run = Self {
            seed,
            orders,
            rounds,
            outage: Duration::from_secs(5),
        };
        println!("{run}");
        run
    }

    /// As `just chaos` runs it, in minutes.
    pub fn long(seed: u64) -> Self {
        Self {
            seed,
            orders: 20_000,
            rounds: 5,
            outage: Duration::from_secs(30),
        }
    }

    /// Random numbers of this run.
    pub fn random(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    /// All its orders, as fast as they are taken.
    pub fn plan(&self) -> LoadPlan {
        LoadPlan {
            orders: self.orders,
            connections: 32,
            prefix: format!("o{:x}", self.seed),
            seed: self.seed,
            rate: None,
        }
    }

    /// Orders without an end, slowly enough that they flow through all that happens: until
    /// [`Load::enough`](crate::load::Load::enough).
    pub fn steady_plan(&self) -> LoadPlan {
        LoadPlan {
            orders: u64::MAX,
            rate: Some(STEADY_RATE),
            ..self.plan()
        }
    }

    /// Records a second that a busy machine keeps up with.
    pub fn steady_rate(&self) -> u64 {
        STEADY_RATE
    }

    /// After how many accepted orders each round's fault is made: in the middle of the run's
    /// parts, a little earlier or later.
    pub fn moments(&self) -> Vec<u64> {
        let mut random = self.random();
        let part = self.orders / (self.rounds + 1);
        (1..=self.rounds)
            .map(|round| round * part - random.u64(0..=part / 2))
            .collect()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            orders,
            rounds,
            ..
        } = self;
        write!(
            f,
            "{orders} orders, {rounds} rounds, {SEED_VARIABLE}={seed}"
        )
    }
}
