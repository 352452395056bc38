//! What is believed of the time of day, so that a clock that is wrong deletes nothing.
//!
//! A clock may leap: a machine starts without a battery, somebody sets the wrong year, a virtual
//! machine wakes up. So the database keeps the time that was believed last. A clock that has moved by
//! more than [`LEAP`] since is doubted until it has stood by it for [`PATIENCE`]; until then nothing is
//! deleted for its age, and rows are stamped with the time that is believed. PostgreSQL has a clock of
//! its own, which must agree with the process's. Pure.

use std::fmt;

use proto::Rfc3339;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// Furthest that the time may have moved since it was last believed, either way, in milliseconds: a
/// service that was down for longer waits for [`PATIENCE`].
pub(crate) const LEAP: i64 = 24 * HOUR;

/// How long a clock must stand by its leap before it is believed, in milliseconds.
pub(crate) const PATIENCE: i64 = 24 * HOUR;

/// Longest pause of a clock that goes on from what it last claimed, in milliseconds: a shop that runs for some
/// hours each week has its clock believed after all.
pub(crate) const PAUSE: i64 = 8 * 24 * HOUR;

/// How far the clocks of the process and of the database may be apart, in milliseconds.
pub(crate) const SKEW: i64 = 5 * MINUTE;

/// What the database keeps. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Belief {
    /// The time that was believed last.
    pub(crate) believed: i64,
    /// Since when the clock has claimed another time, by that clock; 0 = it does not.
    pub(crate) claimed_from: i64,
    /// What it last claimed.
    pub(crate) claimed_to: i64,
}

/// Why the time is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockDoubt {
    /// The clock has leapt from the time that was believed last.
    Leapt {
        /// What the clock says, in milliseconds since 1970.
        now: i64,
        /// What was believed last, in milliseconds since 1970.
        believed: i64,
        /// When it is believed if it stands by that, by the same clock.
        until: i64,
    },
    /// The clocks of this process and of the database differ.
    Differ {
        /// What this process's clock says, in milliseconds since 1970.
        process: i64,
        /// What the database's clock says, in milliseconds since 1970.
        database: i64,
    },
}

impl fmt::Display for ClockDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = Rfc3339::from_millis;
        match *self {
            Self::Leapt {
                now,
                believed,
                until,
            } => {
                let away = Away(now.saturating_sub(believed));
                write!(
                    f,
                    "the clock says {} and is {away} the time that was believed last ({}): nothing is deleted for its age \
                     until {}, unless the clock is set right before; look at the clock of this machine",
                    text(now),
                    text(believed),
                    text(until),
                )
            }
            Self::Differ { process, database } => {
                let away = Away(process.saturating_sub(database));
                write!(
                    f,
                    "the clock of this process says {}, {away} that of the database ({}): nothing is deleted for its age \
                     until they agree to {} minutes; set the clock that is wrong",
                    text(process),
                    text(database),
                    SKEW / MINUTE,
                )
            }
        }
    }
}

/// `3 days ahead of`, `2 hours behind`.
struct Away(i64);

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0.unsigned_abs() / MINUTE as u64;
        let (count, unit) = match minutes {
            m if m >= 2 * 24 * 60 => (m / (24 * 60), "days"),
            m if m >= 2 * 60 => (m / 60, "hours"),
            m => (m, "minutes"),
        };
        let side = if self.0 < 0 { "behind" } else { "ahead of" };
        write!(f, "{count} {unit} {side}")
    }
}

impl Belief {
    /// The first time that a database is used with: there is nothing to compare it with, and nothing in the database
    /// that is old.
    pub(crate) fn first(now: i64) -> Self {
        Self {
            believed: now,
            claimed_from: 0,
            claimed_to: 0,
        }
    }

    /// Whether `newer` says so much more that it is worth a write.
    pub(crate) fn is_outdated_by(&self, newer: &Self) -> bool {
        let claims = |belief: &Self| belief.claimed_from != 0;
        claims(self) != claims(newer)
            || (claims(self) && self.claimed_from != newer.claimed_from)
            || self.believed.abs_diff(newer.believed) >= MINUTE as u64
            || self.claimed_to.abs_diff(newer.claimed_to) >= MINUTE as u64
    }

    /// What is believed once the clock says `now`, and whether that is doubted.
    pub(crate) fn told(self, now: i64) -> (Self, Option<ClockDoubt>) {
        let near = |one: i64, other: i64| one.abs_diff(other) <= LEAP as u64;
        if near(now, self.believed) {
            return (Self::first(now), None);
        }
        let goes_on = (0..=PAUSE).contains(&now.saturating_sub(self.claimed_to));
        let stands_by_it = self.claimed_from != 0
            && (goes_on || near(now, self.claimed_to))
            && now >= self.claimed_from;
        let from = if stands_by_it { self.claimed_from } else { now };
        if now.saturating_sub(from) >= PATIENCE {
            return (Self::first(now), None);
        }
        let doubt = ClockDoubt::Leapt {
            now,
            believed: self.believed,
            until: from.saturating_add(PATIENCE),
        };
        let belief = Self {
            believed: self.believed,
            claimed_from: from,
            claimed_to: now,
        };
        (belief, Some(doubt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * HOUR;
    /// 2026-01-01.
    const START: i64 = 1_767_225_600_000;

    #[test]
    fn a_clock_that_goes_on_is_believed() {
        let mut belief = Belief::first(START);
        for now in [START + MINUTE, START, START + DAY, START + HOUR] {
            let (next, doubt) = belief.told(now);
            assert_eq!((next, doubt), (Belief::first(now), None));
            belief = next;
        }
    }

    #[test]
    fn a_leap_is_not_believed_and_forgotten_when_it_is_over() {
        for leap in [31 * DAY, 3_650 * DAY, -31 * DAY] {
            let wrong = START + leap;
            let (belief, doubt) = Belief::first(START).told(wrong);
            assert_eq!(belief.believed, START);
            let text = doubt.expect("it leapt").to_string();
            let side = if leap > 0 { "ahead of" } else { "behind" };
            assert!(
                text.contains(&format!("{} days {side}", leap.abs() / DAY)),
                "{text}"
            );
            assert_eq!(
                belief.told(START + HOUR),
                (Belief::first(START + HOUR), None)
            );
        }
    }

    #[test]
    fn who_was_away_for_long_is_believed_after_a_day() {
        let mut belief = Belief::first(START);
        let back = START + 40 * DAY;
        for minutes in 0..24 * 60 {
            let (next, doubt) = belief.told(back + minutes * MINUTE);
            assert!(doubt.is_some(), "{minutes}");
            belief = next;
        }
        assert_eq!(belief.told(back + DAY), (Belief::first(back + DAY), None));
    }

    #[test]
    fn who_runs_for_some_hours_each_week_is_believed_in_the_second() {
        let week = 7 * DAY;
        let (belief, doubt) = Belief::first(START).told(START + week);
        assert!(doubt.is_some());
        let (belief, doubt) = belief.told(START + week + 3 * HOUR);
        assert!(doubt.is_some());
        let next = START + 2 * week;
        assert_eq!(belief.told(next), (Belief::first(next), None));
    }

    #[test]
    fn a_second_leap_begins_the_wait_again() {
        let (belief, _) = Belief::first(START).told(START + 40 * DAY);
        let (belief, _) = belief.told(START + 40 * DAY + 23 * HOUR);
        let (belief, doubt) = belief.told(START + 80 * DAY);
        assert!(doubt.is_some());
        assert_eq!(belief.claimed_from, START + 80 * DAY);
        // And so does going back behind its own claim.
        let (belief, _) = belief.told(START + 79 * DAY + 12 * HOUR);
        assert_eq!(belief.claimed_from, START + 79 * DAY + 12 * HOUR);
    }
}
