//! Which leader epoch the records of a partition were written in, so that a log that was cut back and
//! written anew is noticed (KIP-320). Pure.
//!
//! ```text
//!  read here   epoch 1 ──────────► 10   epoch 2 ──────────► 20 (position; the record before it is of epoch 2)
//!  the leader  epoch 1 ─────────────────► 15   epoch 4 ─────────────► 30
//! ```
//!
//! Every fetch tells the leader position and epoch of the record before. Here it answers that the last epoch up to 2
//! that it has is 1, which ends at 15; what was read differs from 10 on.

/// Epochs kept: elections between the oldest commit that is still open and what is read now.
const MOST: usize = 16;

/// The latest epochs of one partition, as far as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lineage {
    /// Ascending by epoch and by offset.
    epochs: Vec<Run>,
}

/// What was read of one epoch. Between its end and the next one's first offset compaction left nothing: there the
/// epoch changed, at an offset that is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    /// -1 = written in an epoch that is not known.
    epoch: i32,
    /// The first offset known to be of it.
    first: i64,
    /// Behind the last offset known to be of it.
    end: i64,
}

impl Lineage {
    /// Of a position that somebody else read up to: the record before it is of `epoch` (-1 = not known).
    pub(crate) fn resumed(position: i64, epoch: i32) -> Self {
        let mut lineage = Self::default();
        if position > 0 {
            lineage.read(epoch, position - 1, position);
        }
        lineage
    }

    /// What lies from `from` up to `to` is of `epoch`.
    #[inline]
    pub(crate) fn read(&mut self, epoch: i32, from: i64, to: i64) {
        if let Some(last) = self.epochs.last_mut()
            && last.epoch == epoch
        {
            last.end = to;
            return;
        }
        // What is read once more, from an earlier position on, is known already.
        self.epochs
            .retain(|known| known.epoch <= epoch && known.first < from);
        match self.epochs.last_mut() {
            Some(last) if last.epoch == epoch => {
                last.end = to;
                return;
            }
            Some(last) => last.end = last.end.min(from),
            None => {}
        }
        self.epochs.push(Run {
            epoch,
            first: from,
            end: to,
        });
        if self.epochs.len() > MOST {
            self.epochs.remove(0);
        }
    }

    /// Goes on with what was read next.
    pub(crate) fn extend(&mut self, next: &Self) {
        for run in &next.epochs {
            self.read(run.epoch, run.first, run.end);
        }
    }

    /// The epoch of what lies right before `position`; -1 = not known. A guess would be taken for a log that was cut
    /// back, wherever the epoch that is named ended before `position`.
    pub(crate) fn before(&self, position: i64) -> i32 {
        let of = self.epochs.iter().rev().find(|run| run.first < position);
        of.filter(|run| position <= run.end)
            .map_or(-1, |run| run.epoch)
    }

    /// The latest epoch; -1 = not known.
    pub(crate) fn last(&self) -> i32 {
        self.epochs.last().map_or(-1, |run| run.epoch)
    }

    /// The leader's log is another one: of the epochs up to the one before `position` it has `epoch` last, which ends
    /// at `end` there. Returns the first offset not known to be the same, which is below `position`; what is
    /// known of it and of all behind it is forgotten.
    pub(crate) fn diverged(&mut self, position: i64, epoch: i32, end: i64) -> i64 {
        let later = self.epochs.iter().find(|run| run.epoch > epoch);
        let ours = later.map_or(position, |run| run.first);
        let mut differs = end.min(ours).min(position).max(0);
        self.epochs
            .retain(|run| run.epoch <= epoch && run.first < differs);
        if let Some(last) = self.epochs.last_mut() {
            // Where an epoch ended in a gap, the leader may have what was never read.
            differs = differs.min(last.end);
            last.end = differs;
        } else if differs > 0 {
            self.epochs.push(Run {
                epoch,
                first: differs - 1,
                end: differs,
            });
        }
        differs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Epoch 1 from 0, 2 from 10, 5 from 20, up to 30.
    fn three() -> Lineage {
        let mut lineage = Lineage::default();
        lineage.read(1, 0, 10);
        lineage.read(2, 10, 15);
        lineage.read(2, 15, 20);
        lineage.read(5, 20, 30);
        lineage
    }

    #[test]
    fn each_position_has_the_epoch_of_the_record_before_it() {
        let lineage = three();
        for (position, epoch) in [(0, -1), (1, 1), (10, 1), (11, 2), (20, 2), (21, 5), (30, 5)] {
            assert_eq!(lineage.before(position), epoch, "position {position}");
        }
        assert_eq!(lineage.before(31), -1, "not read");
        assert_eq!(Lineage::default().before(7), -1);
        assert_eq!(Lineage::resumed(7, 3).before(7), 3);
        assert_eq!(Lineage::resumed(7, 3).before(6), -1);
        assert_eq!(Lineage::resumed(7, -1).before(7), -1);
        assert_eq!(Lineage::resumed(0, 3).before(0), -1);
    }

    #[test]
    fn what_was_read_in_parts_is_the_same_as_in_one() {
        let mut parts = Lineage::default();
        parts.read(1, 0, 10);
        let mut next = Lineage::default();
        next.read(2, 10, 20);
        next.read(5, 20, 30);
        parts.extend(&next);
        assert_eq!(parts, three());
    }

    #[test]
    fn what_is_read_once_more_stays_known() {
        let mut lineage = three();
        lineage.read(2, 12, 15);
        assert_eq!([5, 13].map(|position| lineage.before(position)), [1, 2]);
        assert_eq!(lineage.before(16), -1);
        lineage.read(2, 15, 20);
        lineage.read(5, 20, 30);
        assert_eq!(lineage, three());
    }

    #[test]
    fn the_epoch_that_was_read_last_ends_earlier_at_the_leader() {
        let mut lineage = three();
        assert_eq!(lineage.diverged(30, 5, 25), 25);
        assert_eq!(lineage.before(25), 5);
        assert_eq!(lineage.before(26), -1, "forgotten");
    }

    #[test]
    fn an_epoch_that_the_leader_does_not_have_is_left_whole() {
        // Its epoch 2 goes on where ours ended.
        let mut lineage = three();
        assert_eq!(lineage.diverged(30, 2, 40), 20);
        assert_eq!(lineage.before(20), 2);
        // Its epoch 2 ends before ours.
        let mut lineage = three();
        assert_eq!(lineage.diverged(30, 2, 17), 17);
        assert_eq!(lineage.before(17), 2);
        // It has neither 2 nor 5; then 1 is the one to ask about.
        let mut lineage = three();
        assert_eq!(lineage.diverged(30, 1, 12), 10);
        assert_eq!(lineage.before(10), 1);
    }

    #[test]
    fn after_a_restart_the_one_record_whose_epoch_is_known_differs_at_least() {
        let mut lineage = Lineage::resumed(100, 7);
        assert_eq!(lineage.diverged(100, 4, 500), 99);
        assert_eq!(lineage.before(99), 4, "as the leader has it");
        let mut lineage = Lineage::resumed(100, 7);
        assert_eq!(lineage.diverged(100, 7, 60), 60);
    }

    /// Epoch 1 up to 5, then a gap in which epoch 2 began, which goes on from 10, with a gap of its own, up to 20.
    fn compacted() -> Lineage {
        let mut lineage = Lineage::default();
        lineage.read(1, 0, 5);
        lineage.read(2, 10, 12);
        lineage.read(2, 15, 20);
        lineage
    }

    #[test]
    fn where_an_epoch_ended_in_a_gap_none_is_known() {
        let mut parts = Lineage::resumed(5, 1);
        let mut next = Lineage::default();
        next.read(2, 10, 20);
        parts.extend(&next);
        for lineage in [compacted(), parts] {
            let found = [5, 6, 10, 11].map(|position| lineage.before(position));
            assert_eq!(found, [1, -1, -1, 2]);
            assert_eq!(lineage.before(15), 2, "the same before and behind the gap");
        }
    }

    #[test]
    fn what_differs_may_begin_in_the_gap() {
        for end in [7, 40] {
            let mut lineage = compacted();
            assert_eq!(lineage.diverged(20, 1, end), 5, "it ends at {end}");
            assert_eq!(lineage.before(5), 1);
            assert_eq!(lineage.before(6), -1, "forgotten");
        }
    }

    #[test]
    fn only_the_latest_are_kept() {
        let mut lineage = Lineage::default();
        for epoch in 0..100 {
            let from = i64::from(epoch) * 10;
            lineage.read(epoch, from, from + 10);
        }
        assert_eq!(lineage.epochs.len(), MOST);
        assert_eq!(lineage.before(1_000), 99);
        assert_eq!(lineage.before(5), -1, "too long ago");
    }

    /// Epochs of these numbers, each with some records: the epoch of each offset.
    fn epochs(of: impl Strategy<Value = i32>, most: usize) -> impl Strategy<Value = Vec<i32>> {
        let lengths = prop::collection::btree_map(of, 1..9_usize, 0..most);
        lengths.prop_map(|lengths| {
            let each = lengths.into_iter();
            each.flat_map(|(epoch, length)| std::iter::repeat_n(epoch, length))
                .collect()
        })
    }

    proptest! {
        /// Two logs that part somewhere: an epoch has one leader, so behind that no epoch is in both. Compaction left
        /// `kept` of the one that was read.
        #[test]
        fn the_answers_of_the_leader_lead_back_to_where_the_logs_part(
            both in epochs(0..4, 4),
            ours in epochs((2..8).prop_map(|half| 2 * half), 5),
            theirs in epochs((2..8).prop_map(|half| 2 * half + 1), 5),
            kept in prop_oneof![
                Just(vec![true; 80]),
                prop::collection::vec(any::<bool>(), 80),
            ],
        ) {
            let ours = [&both[..], &ours].concat();
            let theirs = [&both[..], &theirs].concat();
            let mut lineage = Lineage::default();
            // Behind the last that was read: of all, and of what is in both.
            let (mut position, mut same) = (0, 0);
            for ((at, epoch), _) in (0..).zip(&ours).zip(&kept).filter(|(_, kept)| **kept) {
                lineage.read(*epoch, at, at + 1);
                position = at + 1;
                if position <= both.len() as i64 {
                    same = position;
                }
            }
            for ((behind, epoch), kept) in (1..).zip(&ours).zip(&kept) {
                let found = lineage.before(behind);
                prop_assert!(found == *epoch || (found == -1 && !kept), "before {behind}: {found}");
            }
            while position > 0 {
                let epoch = lineage.before(position);
                prop_assert!(epoch >= 0);
                // As `LeaderEpochFileCache.endOffsetFor` of the leader.
                let floor = theirs.iter().filter(|known| **known <= epoch).max();
                let floor = floor.copied().unwrap_or(epoch);
                let end = theirs.iter().filter(|known| **known <= epoch).count() as i64;
                if floor == epoch && end >= position {
                    break;
                }
                let differs = lineage.diverged(position, floor, end);
                prop_assert!(differs < position);
                position = differs;
            }
            // Before the first that was read nothing can be missed.
            let first = (0..).zip(&kept).find(|(_, kept)| **kept).map_or(0, |(at, _)| at);
            let part = first.max(both.len() as i64);
            prop_assert!(same <= position && position <= part, "{same} {position} {part}");
        }
    }
}
