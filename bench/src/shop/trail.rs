//! How old the oldest missing item is, of two counts: what came in, noted with its time, and what is
//! through.

use std::collections::VecDeque;
use std::time::Duration;

/// What came in. Items are taken to be through in the order in which they came in.
#[derive(Debug, Default)]
pub struct Trail {
    /// Time and count; both grow.
    notes: VecDeque<(Duration, u64)>,
    /// The latest time at which all that had come in is through now.
    reached: Duration,
}

impl Trail {
    /// `count` items have come in by `now`.
    pub fn note(&mut self, now: Duration, count: u64) {
        self.notes.push_back((now, count));
    }

    /// `through` items are through. How long ago the oldest of those missing came in, counted from the
    /// note before it: at most by the time between two notes too much.
    pub fn lag(&mut self, now: Duration, through: u64) -> Duration {
        while let Some((at, _)) = self.notes.front().filter(|(_, count)| *count <= through) {
            self.reached = *at;
            self.notes.pop_front();
        }
        match self.notes.is_empty() {
            true => Duration::ZERO,
            false => now.saturating_sub(self.reached),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_counts_from_the_oldest_that_is_missing() {
        let at = Duration::from_millis;
        let mut trail = Trail::default();
        trail.note(at(0), 0);
        trail.note(at(50), 10);
        trail.note(at(100), 20);
        trail.note(at(150), 30);
        assert_eq!(trail.lag(at(150), 10), at(100));
        assert_eq!(trail.lag(at(160), 15), at(110));
        assert_eq!(trail.lag(at(170), 30), Duration::ZERO);
        trail.note(at(200), 40);
        assert_eq!(trail.lag(at(210), 30), at(60));
        assert_eq!(trail.lag(at(220), 45), Duration::ZERO);
    }
}
