//! What a commit's metadata says, and a tracker that starts with it.

use super::input::Input;
use crate::{
    consumer::tracker::{OffsetTracker, metadata::CommitMetadata},
    records::MAX_OFFSET,
};

const MAX_AHEAD: u64 = 4096;

/// The committed offset, the metadata, and then what is handed out and done.
pub fn commit_metadata(data: &[u8]) {
    let mut input = Input::new(data);
    let start = input.number().clamp(0, MAX_OFFSET);
    if let Ok(metadata) = std::str::from_utf8(input.piece()) {
        track(start, metadata, input.rest());
    }
}

/// Steps: an even byte hands out the next record that many offsets on, an odd one ends one of those
/// handed out.
pub(super) fn track(start: i64, metadata: &str, steps: &[u8]) {
    let mut tracker = OffsetTracker::new(start, Some(metadata), MAX_AHEAD);
    let mut running = Vec::new();
    for &step in steps {
        if step % 2 == 1 {
            if !running.is_empty() {
                tracker.done(running.swap_remove(usize::from(step / 2) % running.len()));
            }
            continue;
        }
        let offset = tracker.position() + i64::from(step / 2);
        if offset <= MAX_OFFSET && !tracker.is_done(offset) && tracker.has_room(offset) {
            tracker.dispatch(offset);
            running.push(offset);
        }
    }
    assert_eq!(tracker.unfinished(), running.len() as u64);
    let held_back = running.iter().min();
    assert_eq!(tracker.oldest_unfinished(), held_back.copied());
    if let Some(due) = tracker.committable() {
        assert!(due.offset >= start && held_back.is_none_or(|oldest| due.offset <= *oldest));
        let again = OffsetTracker::new(due.offset, Some(&due.metadata), MAX_AHEAD);
        for offset in running {
            assert!(!again.is_done(offset), "a restart would pass over {offset}");
        }
        if !due.metadata.is_empty() {
            assert!(CommitMetadata::parse(&due.metadata).is_some());
        }
    }
}
