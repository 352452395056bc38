//! How far a view has come in the partitions it reads; pure.
//!
//! Time is told by marks: "at this moment the log ended here". When everything below a mark's end is stored, the view
//! has all that was in the log at that moment. So no record's own timestamp is believed, which may be any time, and
//! nothing is noted for each record.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kafka::TopicPartition;

/// A moment, in milliseconds since the watch began; negative before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) i64);

impl Moment {
    /// Since `earlier`; zero where that is later.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Marks lie apart by at least this share of the whole lag, so that a lag of hours needs a few hundred of them. It is
/// measured as exactly.
const SHARE: u32 = 32;

/// At this moment the log ended here.
#[derive(Clone, Copy, Debug)]
struct Mark {
    end: i64,
    at: Moment,
}

/// One partition.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Where the log ended last; `None` before the first look.
    end: Option<i64>,
    /// Everything below is in the view; `None` while nobody has said.
    stored: Option<i64>,
    /// The view has all that was in the log at this moment.
    reached: Option<Moment>,
    /// Since when it is known to be behind, where `reached` is not known.
    behind_since: Option<Moment>,
    /// Not reached yet; both members grow.
    marks: VecDeque<Mark>,
}

/// How far a view is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lag {
    /// Zero where all is stored that is known of; otherwise how long ago [`Lag::as_of`] was, or the first look where
    /// that is not known.
    pub(super) time: Duration,
    /// Offsets not stored yet, gaps and markers included.
    pub(super) records: i64,
    /// The view has all that was in the log at this moment; `None` where no such moment is known.
    pub(super) as_of: Option<Moment>,
}

impl Progress {
    /// The log ends at `end`, and did not end before that at the moment `at`.
    pub(super) fn ends(&mut self, end: i64, at: Moment) {
        if self.end.is_some_and(|known| end < known) {
            // Another log: the topic was created again, or lost its end.
            *self = Self::default();
        }
        self.end = Some(end);
        if self.stored.is_some_and(|stored| stored >= end) {
            self.marks.clear();
            self.reached = Some(at);
            return;
        }
        let first = self.marks.front().map_or(at, |mark| mark.at);
        let base = self.reached.or(self.behind_since).unwrap_or(first);
        let before = self.marks.iter().nth_back(1).map_or(base, |mark| mark.at);
        let mark = Mark { end, at };
        match self.marks.back_mut() {
            // Whoever reaches the later mark has reached the earlier one.
            Some(last) if last.end == end || at.since(before) < at.since(base) / SHARE => {
                *last = mark;
            }
            _ => self.marks.push_back(mark),
        }
    }

    /// Everything below `offset` is in the view.
    pub(super) fn stored(&mut self, offset: i64) {
        self.stored = Some(offset);
        while let Some(mark) = self.marks.front().filter(|mark| mark.end <= offset) {
            self.reached = Some(mark.at);
            self.marks.pop_front();
        }
    }

    /// Whether the view has passed this offset.
    pub(super) fn has_passed(&self, offset: i64) -> bool {
        self.stored.is_some_and(|stored| offset < stored)
    }

    /// The first offset that is not stored, where it is not known since when it has been in the log: it was there
    /// before the first look.
    pub(super) fn unknown_since(&self) -> Option<i64> {
        let stored = self.stored?;
        let is_known = self.reached.or(self.behind_since).is_some();
        (!is_known && stored < self.end?).then_some(stored)
    }

    /// What [`Progress::unknown_since`] asks for; `None`: it cannot be known, and the lag counts from the first look on.
    pub(super) fn since(&mut self, at: Option<Moment>) {
        if let (None, Some(mark)) = (self.reached, self.marks.front()) {
            self.reached = at.map(|at| at.min(mark.at));
            self.behind_since = Some(mark.at);
        }
    }

    /// `None` while it is not known.
    pub(super) fn lag(&self, now: Moment) -> Option<Lag> {
        let (end, stored, as_of) = (self.end?, self.stored?, self.reached);
        let since = as_of.or(self.behind_since)?;
        let records = end.saturating_sub(stored).max(0);
        Some(Lag {
            time: match records {
                0 => Duration::ZERO,
                _ => now.since(since),
            },
            records,
            as_of,
        })
    }
}

/// All partitions of a view.
#[derive(Debug, Default)]
pub(super) struct Partitions(BTreeMap<TopicPartition, Progress>);

impl Partitions {
    /// From now on these, and no others.
    pub(super) fn are(&mut self, partitions: &[TopicPartition]) {
        self.0.retain(|known, _| partitions.contains(known));
        for partition in partitions {
            self.0.entry(partition.clone()).or_default();
        }
    }

    pub(super) fn get(&self, partition: &TopicPartition) -> Option<&Progress> {
        self.0.get(partition)
    }

    pub(super) fn get_mut(&mut self, partition: &TopicPartition) -> Option<&mut Progress> {
        self.0.get_mut(partition)
    }

    /// Partitions that are behind for an unknown time, each with the offset of its first record that is not stored.
    pub(super) fn unknown_since(&self) -> Vec<(TopicPartition, i64)> {
        let unknown = |(partition, progress): (&TopicPartition, &Progress)| {
            Some((partition.clone(), progress.unknown_since()?))
        };
        self.0.iter().filter_map(unknown).collect()
    }

    /// Of each topic, where it is known of all its partitions.
    pub(super) fn by_topic(&self, now: Moment) -> BTreeMap<Arc<str>, Lag> {
        let mut topics: BTreeMap<Arc<str>, Option<Lag>> = BTreeMap::new();
        for (partition, progress) in &self.0 {
            let lag = progress.lag(now);
            topics
                .entry(partition.topic.clone())
                .and_modify(|sum| *sum = sum.zip(lag).map(|(sum, lag)| sum.and(lag)))
                .or_insert(lag);
        }
        let known = topics.into_iter();
        known
            .filter_map(|(topic, lag)| Some((topic, lag?)))
            .collect()
    }

    /// Of all of them; `None` while it is not known of one.
    pub(super) fn lag(&self, now: Moment) -> Option<Lag> {
        let mut lags = self.0.values().map(|progress| progress.lag(now));
        let first = lags.next()??;
        lags.try_fold(first, |sum, lag| Some(sum.and(lag?)))
    }

    /// The longest that is known.
    pub(super) fn longest(&self, now: Moment) -> Duration {
        let known = self.0.values().filter_map(|progress| progress.lag(now));
        known.map(|lag| lag.time).max().unwrap_or_default()
    }
}

impl Lag {
    fn and(self, other: Self) -> Self {
        Self {
            time: self.time.max(other.time),
            records: self.records.saturating_add(other.records),
            // `None` is the least.
            as_of: self.as_of.min(other.as_of),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Moment {
        Moment(millis)
    }

    fn lag(time: u64, records: i64, as_of: i64) -> Option<Lag> {
        Some(Lag {
            time: Duration::from_millis(time),
            records,
            as_of: Some(at(as_of)),
        })
    }

    fn lag_of_unknown_beginning(time: u64, records: i64) -> Option<Lag> {
        Some(Lag {
            as_of: None,
            ..lag(time, records, 0)?
        })
    }

    #[test]
    fn a_view_that_has_all_is_not_behind_however_long_nothing_comes() {
        let mut progress = Progress::default();
        assert_eq!(progress.lag(at(0)), None);
        progress.stored(10);
        assert_eq!(progress.lag(at(0)), None, "nobody has looked at the log");
        progress.ends(10, at(100));
        assert_eq!(progress.lag(at(100)), lag(0, 0, 100));
        // Nobody looks again, as with Kafka away: nothing is known to be missing, as of then.
        assert_eq!(progress.lag(at(60_000)), lag(0, 0, 100));
        progress.ends(10, at(60_000));
        assert_eq!(progress.lag(at(60_001)), lag(0, 0, 60_000));
    }

    #[test]
    fn the_lag_is_the_time_since_the_last_moment_of_which_all_is_stored() {
        let mut progress = Progress::default();
        progress.stored(0);
        progress.ends(0, at(0));
        for second in 1..=10 {
            progress.ends(second * 100, at(second * 1_000));
        }
        assert_eq!(progress.lag(at(10_000)), lag(10_000, 1_000, 0));
        progress.stored(299);
        assert_eq!(progress.lag(at(10_000)), lag(8_000, 701, 2_000));
        progress.stored(300);
        assert_eq!(progress.lag(at(10_000)), lag(7_000, 700, 3_000));
        // It stands still, and the lag grows although nothing comes.
        progress.ends(1_000, at(20_000));
        assert_eq!(progress.lag(at(20_000)), lag(17_000, 700, 3_000));
        progress.stored(1_000);
        assert_eq!(progress.lag(at(20_500)), lag(0, 0, 20_000));
    }

    #[test]
    fn what_lay_there_before_the_first_look_counts_from_its_time() {
        let mut progress = Progress::default();
        progress.ends(50, at(0));
        progress.stored(20);
        assert_eq!(progress.unknown_since(), Some(20));
        assert_eq!(progress.lag(at(0)), None);
        progress.since(Some(at(-5_000)));
        assert_eq!(progress.unknown_since(), None);
        assert_eq!(progress.lag(at(100)), lag(5_100, 30, -5_000));
        progress.stored(50);
        assert_eq!(progress.lag(at(100)), lag(0, 0, 0));

        // A timestamp that is ahead, and none.
        let ahead = (Some(at(9_999)), lag(20, 2, 10));
        let none = (None, lag_of_unknown_beginning(20, 2));
        for (time, expected) in [ahead, none] {
            let mut progress = Progress::default();
            progress.stored(0);
            progress.ends(2, at(10));
            progress.since(time);
            assert_eq!(progress.lag(at(30)), expected, "{time:?}");
            assert_eq!(progress.unknown_since(), None);
            progress.ends(2, at(40));
            progress.stored(2);
            assert_eq!(progress.lag(at(50)), lag(0, 0, 40));
        }
    }

    #[test]
    fn a_long_lag_needs_few_marks_and_is_still_measured() {
        const DAY: i64 = 86_400_000;
        let mut progress = Progress::default();
        progress.stored(0);
        progress.ends(0, at(0));
        for tick in 1..=DAY / 250 {
            progress.ends(tick, at(tick * 250));
        }
        assert!(progress.marks.len() < 600, "{}", progress.marks.len());
        for stored in [DAY / 4 / 250, DAY / 2 / 250, DAY / 250 - 40] {
            progress.stored(stored);
            let as_of = progress.lag(at(DAY)).unwrap().as_of.unwrap().0;
            let exact = stored * 250;
            assert!(as_of <= exact, "{as_of} is later than {exact}");
            assert!(exact - as_of <= exact / 30, "{as_of} is far from {exact}");
        }
    }

    #[test]
    fn a_log_that_ends_earlier_is_another_one() {
        let mut progress = Progress::default();
        progress.stored(100);
        progress.ends(100, at(0));
        progress.ends(3, at(10));
        assert_eq!(progress.lag(at(10)), None);
        assert!(!progress.has_passed(1));
        progress.stored(1);
        assert!(progress.has_passed(0) && !progress.has_passed(1));
        progress.since(None);
        assert_eq!(progress.lag(at(15)), lag_of_unknown_beginning(5, 2));
    }

    #[test]
    fn a_group_that_is_set_back_is_behind_from_what_the_view_has() {
        let mut progress = Progress::default();
        progress.stored(10);
        progress.ends(10, at(0));
        progress.stored(4);
        assert_eq!(progress.lag(at(700)), lag(700, 6, 0));
    }

    #[test]
    fn of_many_partitions_the_one_furthest_behind_counts() {
        let names = [("a", 0), ("a", 1), ("b", 0)];
        let names = names.map(|(topic, partition)| TopicPartition::new(topic, partition));
        let mut partitions = Partitions::default();
        assert_eq!(partitions.lag(at(0)), None);
        partitions.are(&names);
        for (name, end) in names.iter().zip([10, 20, 30]) {
            let progress = partitions.get_mut(name).unwrap();
            progress.stored(10);
            progress.ends(10, at(0));
            progress.ends(end, at(1_000));
        }
        assert_eq!(partitions.lag(at(1_500)), lag(1_500, 30, 0));
        let by_topic = partitions.by_topic(at(1_500));
        assert_eq!(by_topic["a"], lag(1_500, 10, 0).unwrap());
        assert_eq!(by_topic["b"], lag(1_500, 20, 0).unwrap());
        // Nothing is known of this one.
        let more = TopicPartition::new("a", 2);
        partitions.are(&[names[0].clone(), names[2].clone(), more]);
        assert_eq!(partitions.lag(at(1_500)), None);
        assert!(!partitions.by_topic(at(1_500)).contains_key("a"));
        assert_eq!(partitions.longest(at(1_500)), Duration::from_millis(1_500));
        partitions.are(&names[..1]);
        assert_eq!(partitions.lag(at(1_500)), lag(0, 0, 1_000));
    }
}
