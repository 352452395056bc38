//! Records between our events that are none.

use std::collections::HashSet;

use super::index::Index;
use super::verdict::Violation;
use crate::history::{History, Place};

/// The services write none of them, and whoever reads one puts it aside.
pub(super) fn put_aside(history: &History, index: &Index<'_>) -> Vec<Violation> {
    let poison: HashSet<&Place> = history.poison.iter().collect();
    let mut violations = Vec::new();
    for stranger in &history.strangers {
        let place = &stranger.place;
        if !poison.contains(place) {
            violations.push(Violation::Stranger {
                place: place.clone(),
            });
        }
        let reader = stranger.event.reader;
        if !index.letters.contains_key(&(reader, place)) {
            violations.push(Violation::NotPutAside {
                place: place.clone(),
                reader,
            });
        }
    }
    violations
}
