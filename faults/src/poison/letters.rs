use std::collections::HashMap;

use kafka::{Client, ConsumerRecord};
use proto::dead_letter;

use super::{KEY, MUCH, Poison};
use crate::gather;
use crate::history::Place;

/// Where poison lies, and the group that has to put it aside.
pub struct Placed {
    pub poison: Poison,
    pub place: Place,
    pub group: String,
}

/// Each has one dead letter in these topics, by its group, with its key, value and headers and a reason,
/// or what it has not.
///
/// # Panics
/// When one has none or several, or is not as it was.
pub async fn as_they_were(client: &Client, topics: &[String], placed: &[Placed]) {
    let mut missing: HashMap<_, _> = placed.iter().map(|p| (p.place.clone(), p)).collect();
    let known: HashMap<_, _> = missing.clone();
    gather::each_record(client, topics, |record| {
        let Some(placed) = source(record).and_then(|source| known.get(&source)) else {
            return;
        };
        let Placed { poison, place, .. } = placed;
        let what = format!("{} at {place}", poison.what);
        assert!(missing.remove(place).is_some(), "a second letter: {what}");
        as_it_was(record, placed, &what);
    })
    .await;
    let missing: Vec<_> = missing
        .values()
        .map(|p| (p.poison.what, &p.place))
        .collect();
    assert!(missing.is_empty(), "without a letter: {missing:?}");
}

/// The record that a letter is a copy of.
fn source(letter: &ConsumerRecord) -> Option<Place> {
    let header = |name| letter.headers.get_str(name);
    Some(Place {
        topic: header(dead_letter::ORIGINAL_TOPIC)?.into(),
        partition: header(dead_letter::ORIGINAL_PARTITION)?.parse().ok()?,
        offset: header(dead_letter::ORIGINAL_OFFSET)?.parse().ok()?,
    })
}

fn as_it_was(letter: &ConsumerRecord, placed: &Placed, what: &str) {
    let Placed { poison, group, .. } = placed;
    let header = |name| letter.headers.get_str(name);
    assert_eq!(
        header(dead_letter::CONSUMER_GROUP),
        Some(&**group),
        "{what}"
    );
    let reason = header(dead_letter::REASON);
    assert!(reason.is_some_and(|reason| !reason.is_empty()), "{what}");
    assert_eq!(letter.key.as_deref(), Some(KEY.as_bytes()), "{what}");
    let headers: Vec<_> = letter.headers.iter().take(poison.headers.len()).collect();
    assert_eq!(headers, poison.headers, "{what}");
    let value = poison.value.as_deref();
    if value.is_some_and(|value| value.len() == MUCH) {
        assert_eq!(header(dead_letter::OMITTED), Some("value"), "{what}");
        assert_eq!(letter.value, None, "{what}");
    } else {
        assert_eq!(header(dead_letter::OMITTED), None, "{what}");
        assert!(letter.value.as_deref() == value, "{what}");
    }
}
