use std::collections::BTreeMap;
use std::fmt;

/// The next offset of each partition of the feed's topics.
///
/// As text, an event id: `0.0:17,0.1:4` is topic 0, partition 0, next offset 17, and so on. Topics
/// are counted in the order the feed lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    next: BTreeMap<(usize, i32), i64>,
}

/// More partitions than a client may name: far past what a topic has, and a bound on memory.
const MAX_PARTITIONS: usize = 10_000;

impl Position {
    /// `None` where `text` is no position of a feed of `topics` topics.
    pub fn parse(text: &str, topics: usize) -> Option<Self> {
        let mut next = BTreeMap::new();
        for part in text.split(',') {
            let (place, offset) = part.split_once(':')?;
            let (topic, partition) = place.split_once('.')?;
            let topic = number(topic).and_then(|n| usize::try_from(n).ok())?;
            let partition = number(partition).and_then(|n| i32::try_from(n).ok())?;
            if topic >= topics || next.len() >= MAX_PARTITIONS {
                return None;
            }
            if next.insert((topic, partition), number(offset)?).is_some() {
                return None;
            }
        }
        Some(Self { next })
    }

    pub(crate) fn get(&self, topic: usize, partition: i32) -> Option<i64> {
        self.next.get(&(topic, partition)).copied()
    }

    pub(crate) fn set(&mut self, topic: usize, partition: i32, next: i64) {
        self.next.insert((topic, partition), next);
    }

    /// Moves a partition forward, never back.
    pub(crate) fn advance(&mut self, topic: usize, partition: i32, next: i64) {
        let entry = self.next.entry((topic, partition)).or_insert(next);
        *entry = next.max(*entry);
    }

    /// Keeps the partitions that `keep` says so of.
    pub(crate) fn retain(&mut self, keep: impl Fn(usize, i32) -> bool) {
        self.next
            .retain(|&(topic, partition), _| keep(topic, partition));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, i32, i64)> {
        self.next
            .iter()
            .map(|(&(topic, partition), &next)| (topic, partition, next))
    }
}

/// Digits alone: `parse` would take a sign.
fn number(text: &str) -> Option<i64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (topic, partition, next)) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{topic}.{partition}:{next}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_and_back(parts in proptest::collection::btree_map((0..3_usize, 0..20_i32), 0..i64::MAX, 1..20)) {
            let position = Position { next: parts };
            prop_assert_eq!(Position::parse(&position.to_string(), 3), Some(position));
        }

        #[test]
        fn anything_else_is_refused_without_panic(text in ".{0,40}") {
            if let Some(position) = Position::parse(&text, 1) {
                prop_assert!(position.iter().all(|(topic, partition, next)| topic == 0 && partition >= 0 && next >= 0));
            }
        }
    }

    #[test]
    fn foreign_ids_are_no_position() {
        for wrong in [
            "",
            "17",
            "0.0:-1",
            "0.0:+1",
            "5.0:1",
            "0.0:1,0.0:2",
            "0.0:1,",
            "0.-1:1",
            "0.99999999999:1",
        ] {
            assert_eq!(Position::parse(wrong, 2), None, "{wrong}");
        }
    }
}
