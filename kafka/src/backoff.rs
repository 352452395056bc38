//! How long to wait before the next try: exponential, with jitter, bounded.
//!
//! Pure: the random number comes in from outside, so that a test can name it.

use std::time::Duration;

/// Each wait is this many times the one before (Java `CommonClientConfigs.RETRY_BACKOFF_EXP_BASE`).
const BASE: f64 = 2.0;
/// A wait lies within ±20 % of its nominal length (Java `RETRY_BACKOFF_JITTER`, KIP-580), so that
/// what failed together does not come back together.
const JITTER: f64 = 0.2;

/// Exponential back-off between `initial` and `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) const fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max }
    }

    /// The wait after `failures` failures in a row (1 = the first). `random` is any 64-bit number.
    ///
    /// Jitter never carries a wait past `max`.
    pub(crate) fn delay(&self, failures: u32, random: u64) -> Duration {
        let max = self.max.max(self.initial).as_secs_f64();
        // 2^64 × 1 ns is already 584 years: a larger exponent changes nothing but overflows.
        let exponent = failures.saturating_sub(1).min(64) as i32;
        let nominal = (self.initial.as_secs_f64() * BASE.powi(exponent)).min(max);
        let unit = (random >> 11) as f64 / (1u64 << 53) as f64;
        let factor = 1.0 - JITTER + 2.0 * JITTER * unit;
        Duration::from_secs_f64((nominal * factor).min(max))
    }
}

impl Backoff {
    /// Like [`Backoff::delay`], with a random number of its own.
    pub(crate) fn random_delay(&self, failures: u32) -> Duration {
        self.delay(failures, crate::cluster::random())
    }
}

/// A small random sequence for jitter (SplitMix64, Steele, Lea and Flood 2014). Not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    /// Seeded from the process's own randomness.
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self(RandomState::new().hash_one(0u8))
    }

    /// The same sequence each time.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Back-off that remembers how often it failed in a row.
#[derive(Clone, Debug)]
pub(crate) struct Retries {
    backoff: Backoff,
    jitter: Jitter,
    failures: u32,
}

impl Retries {
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self {
            backoff: Backoff::new(initial, max),
            jitter: Jitter::new(),
            failures: 0,
        }
    }

    /// One more failure: how long to wait now.
    pub(crate) fn next_delay(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.delay(self.failures, self.jitter.next())
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MIDDLE: u64 = 1 << 63;

    #[test]
    fn doubles_from_the_first_to_the_last() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<_> = (1..=6)
            .map(|n| backoff.delay(n, MIDDLE).as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn retries_start_over_after_a_success() {
        let mut retries = Retries::new(Duration::from_millis(100), Duration::from_secs(10));
        for _ in 0..5 {
            retries.next_delay();
        }
        assert!(retries.next_delay() > Duration::from_secs(2));
        retries.reset();
        assert!(retries.next_delay() <= Duration::from_millis(120));
    }

    proptest! {
        #[test]
        fn stays_within_jitter_and_bound(
            initial in 1u64..10_000, max in 1u64..1_000_000, failures in 0u32.., random: u64,
        ) {
            let backoff = Backoff::new(Duration::from_millis(initial), Duration::from_millis(max));
            let wait = backoff.delay(failures, random).as_secs_f64() * 1e3;
            let ceiling = max.max(initial) as f64;
            let nominal = (initial as f64 * 2f64.powi(failures.saturating_sub(1).min(64) as i32)).min(ceiling);
            prop_assert!(wait <= ceiling + 1e-3, "{wait} past {ceiling}");
            prop_assert!(wait >= nominal * 0.8 - 1e-3, "{wait} below {nominal}");
            prop_assert!(wait <= nominal * 1.2 + 1e-3, "{wait} above {nominal}");
        }
    }
}
