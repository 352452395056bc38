use std::collections::BTreeSet;

use proptest::prelude::*;

use super::metadata::{self, CommitMetadata};
use super::*;

fn fresh(start: i64) -> OffsetTracker {
    OffsetTracker::new(start, Some(""), 1000)
}

#[test]
fn commits_the_last_handled_plus_one() {
    let mut tracker = fresh(10);
    assert_eq!(tracker.committable(), None);
    tracker.dispatch(10);
    tracker.done(10);
    let commit = tracker.committable().unwrap();
    assert_eq!((commit.offset, commit.metadata.as_str()), (11, ""));
    tracker.committed(commit.version);
    assert_eq!(tracker.committable(), None);
}

#[test]
fn a_start_position_without_a_commit_is_due_at_once() {
    let tracker = OffsetTracker::new(7, None, 10);
    assert_eq!(tracker.committable().unwrap().offset, 7);
}

#[test]
fn one_waiting_record_holds_the_commit_but_the_rest_is_not_run_twice() {
    let mut tracker = fresh(0);
    for offset in 0..1000 {
        tracker.dispatch(offset);
    }
    for offset in 1..1000 {
        tracker.done(offset);
    }
    assert_eq!(tracker.oldest_unfinished(), Some(0));
    let commit = tracker.committable().unwrap();
    assert_eq!(commit.offset, 0);
    // 1 not done (B), 999 = 7 + 31 * 32 done: digit 7 with more to come (n), digit 31 (f).
    assert_eq!(commit.metadata, "k1;Bnf");
    let mut again = OffsetTracker::new(commit.offset, Some(&commit.metadata), 1000);
    assert!(!again.is_done(0));
    assert!((1..1000).all(|offset| again.is_done(offset)));
    assert!(!again.is_done(1000));
    assert_eq!(again.committable(), None);
    again.dispatch(0);
    again.done(0);
    let commit = again.committable().unwrap();
    assert_eq!(
        (commit.offset, &*commit.metadata),
        (1, "k1;Anf"),
        "not passed yet"
    );
    let later = OffsetTracker::new(commit.offset, Some(&commit.metadata), 1000);
    assert!((1..1000).all(|offset| later.is_done(offset)) && !later.is_done(1000));
    again.advance_to(1000);
    assert_eq!(again.committable_offset(), 1000);
}

#[test]
fn what_an_earlier_commit_says_is_done_does_not_hold_for_records_of_later_epochs() {
    let mut tracker = fresh(10);
    for offset in 10..200 {
        tracker.dispatch(offset);
    }
    for offset in (12..50).chain(60..200) {
        tracker.done(offset);
    }
    let commit = tracker.committable().unwrap();
    let metadata = metadata::with_epoch(commit.metadata, 3);
    assert_eq!(CommitMetadata::parse(&metadata).unwrap().epoch, Some(3));
    let resumed = || OffsetTracker::new(10, Some(&metadata), 1000);
    let done = |tracker: &OffsetTracker| (10..300).filter(|at| tracker.is_done(*at)).count();

    let mut same = resumed();
    same.meet(10, 3);
    assert_eq!(done(&same), done(&tracker));
    assert_eq!(same.done_epoch(2), 3, "something of epoch 3 may be ahead");
    // The log was cut back at 40, and epoch 4 wrote it anew.
    for offset in [10, 11] {
        same.dispatch(offset);
        same.done(offset);
    }
    same.meet(40, 4);
    assert_eq!(done(&same), 30, "10 to 39");
    assert_eq!(
        same.committable_offset(),
        12,
        "what is behind was not passed"
    );
    for offset in 40..200 {
        same.dispatch(offset);
        same.done(offset);
    }
    assert_eq!(same.committable_offset(), 200);

    let mut whole = resumed();
    whole.meet(10, 4);
    assert_eq!(done(&whole), 0);
    whole.dispatch(10);
    whole.done(10);
    assert_eq!(whole.committable_offset(), 11);
    assert_eq!(whole.done_epoch(4), 4);

    // Of a commit that says nothing of epochs, everything is believed.
    let mut silent = OffsetTracker::new(10, Some("k1;CC"), 1000);
    silent.meet(10, 9);
    assert!(silent.is_done(12) && silent.is_done(13));
    assert_eq!(silent.done_epoch(9), -1);
}

#[test]
fn gaps_count_as_done() {
    let mut tracker = fresh(0);
    tracker.dispatch(0);
    tracker.dispatch(5);
    tracker.advance_to(9);
    tracker.done(5);
    assert_eq!(tracker.committable_offset(), 0);
    tracker.done(0);
    assert_eq!(
        tracker.committable_offset(),
        9,
        "the marker at 6 to 8 is passed"
    );
}

#[test]
fn a_gap_of_a_billion_offsets_costs_nothing() {
    let mut tracker = fresh(0);
    tracker.dispatch(3_000_000_000);
    tracker.done(3_000_000_000);
    tracker.dispatch(6_000_000_000);
    tracker.advance_to(9_000_000_000);
    assert!(tracker.words.len() <= 2);
    assert_eq!(tracker.committable_offset(), 6_000_000_000);
    tracker.done(6_000_000_000);
    assert_eq!(tracker.committable_offset(), 9_000_000_000);
}

#[test]
fn pauses_max_ahead_past_the_commit() {
    let mut tracker = OffsetTracker::new(0, Some(""), 3);
    for offset in 0..3 {
        assert!(tracker.has_room(tracker.position()));
        tracker.dispatch(offset);
    }
    tracker.done(1);
    tracker.done(2);
    assert!(!tracker.has_room(tracker.position()), "0 is still waiting");
    assert!(!tracker.has_room(3));
    tracker.done(0);
    assert!(tracker.has_room(tracker.position()));
}

#[test]
fn a_record_past_a_wide_gap_waits_only_while_something_is_unfinished() {
    let mut tracker = OffsetTracker::new(0, Some(""), 10);
    tracker.dispatch(0);
    assert!(!tracker.has_room(10));
    tracker.done(0);
    assert!(tracker.has_room(1_000_000));
}

#[test]
fn what_ends_twice_or_was_never_given_out_is_ignored() {
    let mut tracker = fresh(0);
    tracker.dispatch(0);
    tracker.dispatch(1);
    tracker.done(1);
    tracker.done(1);
    tracker.done(7);
    assert_eq!(tracker.unfinished(), 1);
    tracker.done(0);
    assert_eq!((tracker.unfinished(), tracker.committable_offset()), (0, 2));
}

#[test]
fn a_commit_answered_late_does_not_hide_what_came_after() {
    let mut tracker = fresh(0);
    tracker.dispatch(0);
    tracker.dispatch(1);
    tracker.done(0);
    let first = tracker.committable().unwrap();
    tracker.done(1);
    tracker.committed(first.version);
    assert_eq!(tracker.committable().unwrap().offset, 2);
}

#[test]
fn metadata_of_others_is_ignored() {
    for text in [
        "",
        "hello",
        "k2;AB",
        "k1;A B",
        "k1;\u{fc}",
        "k1;BA",
        "k1;n",
        "k1;B;gx",
        "{\"k1;\":1}",
    ] {
        assert_eq!(CommitMetadata::parse(text), None, "{text:?}");
        let tracker = OffsetTracker::new(5, Some(text), 10);
        assert!(!tracker.is_done(5) && !tracker.is_done(6));
    }
}

#[test]
fn metadata_cannot_ask_for_much_memory() {
    // Not done: 1, done: 2^29.
    let tracker = OffsetTracker::new(0, Some("k1;BgggggQ"), 10);
    assert!(tracker.words.len() <= (1 << 24) / 64 + 1);
    let tracker = OffsetTracker::new(i64::MAX - 1, Some("k1;BC"), 10);
    assert!(tracker.words.is_empty());
}

#[test]
fn the_generation_of_a_first_commit_rides_along() {
    for (metadata, runs) in [("", ""), ("k1;BC", "1..3")] {
        let text = metadata::with_generation(metadata, 42);
        let parsed = CommitMetadata::parse(&text).unwrap();
        assert_eq!(parsed.new_in, Some(42));
        let shown: Vec<_> = parsed.runs.iter().map(|run| format!("{run:?}")).collect();
        assert_eq!(shown.join(" "), runs);
    }
}

#[test]
fn the_longest_prefix_that_fits_is_kept() {
    let mut tracker = OffsetTracker::new(0, Some(""), 100_000);
    for offset in 0..20_000 {
        tracker.dispatch(offset);
    }
    for offset in (1..20_000).step_by(2) {
        tracker.done(offset);
    }
    let commit = tracker.committable().unwrap();
    let with_epoch = metadata::with_epoch(commit.metadata.clone(), i32::MAX);
    let whole = metadata::with_generation(&with_epoch, i32::MAX);
    assert!(whole.len() <= metadata::MAX_BYTES);
    assert!(whole.len() > metadata::MAX_BYTES - 4);
    assert!(commit.metadata.bytes().all(|byte| byte.is_ascii_graphic()));
    let again = OffsetTracker::new(0, Some(&commit.metadata), 100_000);
    let kept = (0..20_000).filter(|offset| again.is_done(*offset)).count();
    assert_eq!(kept, (metadata::MAX_BYTES - 24 - 3) / 2);
    assert!((0..20_000).all(|offset| !again.is_done(offset) || offset % 2 == 1));
}

/// The same, naively.
#[derive(Default)]
struct Model {
    next: i64,
    unfinished: BTreeSet<i64>,
    /// Done before a restart, not passed yet.
    restored: BTreeSet<i64>,
}

impl Model {
    fn base(&self) -> i64 {
        self.unfinished.first().copied().unwrap_or(self.next)
    }

    fn is_done(&self, offset: i64) -> bool {
        (offset < self.next && !self.unfinished.contains(&offset))
            || self.restored.contains(&offset)
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Fetch the record this far past the position.
    Record(i64),
    /// Records end, chosen by index.
    Done(Vec<prop::sample::Index>),
    /// The fetch passes so many offsets without records.
    Gap(i64),
    /// Commit, forget everything, start from the commit.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        30 => Just(Step::Record(0)),
        3 => (0..200_i64).prop_map(Step::Record),
        15 => prop::collection::vec(any::<prop::sample::Index>(), 1..8).prop_map(Step::Done),
        2 => (1..300_i64).prop_map(Step::Gap),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn behaves_as_the_naive_model(start in prop_oneof![0..200_i64, Just(1_i64 << 40)], steps in steps()) {
        let mut tracker = OffsetTracker::new(start, Some(""), 500);
        let mut model = Model { next: start, ..Model::default() };
        for step in steps {
            match step {
                Step::Record(gap) => {
                    let offset = model.next + gap;
                    if tracker.is_done(offset) {
                        tracker.advance_to(offset + 1);
                        model.next = offset + 1;
                    } else if tracker.has_room(offset) {
                        tracker.dispatch(offset);
                        model.unfinished.insert(offset);
                        model.next = offset + 1;
                    } else {
                        prop_assert!(!model.unfinished.is_empty());
                    }
                }
                Step::Done(indices) => {
                    for index in indices {
                        if !model.unfinished.is_empty() {
                            let offset = *model.unfinished.iter().nth(index.index(model.unfinished.len())).unwrap();
                            model.unfinished.remove(&offset);
                            tracker.done(offset);
                        }
                    }
                }
                Step::Gap(gap) => {
                    tracker.advance_to(model.next + gap);
                    model.next += gap;
                }
                Step::Restart => {
                    let base = tracker.committable_offset();
                    let commit = metadata::encode(tracker.runs());
                    // All of it fits, so nothing is forgotten but a gap behind the last record.
                    let end = tracker.end;
                    tracker = OffsetTracker::new(base, Some(&commit), 500);
                    let restored = (base..end).filter(|offset| model.is_done(*offset)).collect();
                    model = Model { next: base, unfinished: BTreeSet::new(), restored };
                }
            }
            let base = model.base();
            prop_assert_eq!(tracker.committable_offset(), base);
            prop_assert_eq!(tracker.position(), model.next);
            prop_assert_eq!(tracker.unfinished(), model.unfinished.len() as u64);
            prop_assert_eq!(tracker.oldest_unfinished(), model.unfinished.first().copied());
            for offset in base - 3..model.next + 70 {
                prop_assert_eq!(tracker.is_done(offset), model.is_done(offset), "offset {}", offset);
            }
            prop_assert!(tracker.words.len() <= 2 + (500 + 300 + 200) / 64 + 1);
        }
    }

    #[test]
    fn any_text_is_parsed_or_ignored(text in "(k1;)?[A-Za-z0-9_;g-]{0,40}|.{0,20}") {
        if let Some(parsed) = CommitMetadata::parse(&text) {
            prop_assert!(parsed.runs.iter().all(|run| run.start < run.end && run.end <= 1 << 24));
            prop_assert!(parsed.runs.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
