use std::collections::BTreeMap;
use std::fmt;

use kafka::TopicId;

/// The next offset of each partition of the feed's topics.
///
/// As text, an event id: `0.0:17,0.1:4` is topic 0, partition 0, next offset 17, and so on. Topics
/// are counted in the order the feed lists them. Offsets are of one topic and not of the next one of
/// the same name, so each topic's id goes with them, as the first 63 bits of it in the place of a
/// partition that no topic has: `0.2147483647:4893…`. Instances of an earlier version, which an update
/// leaves running for a while, pass over that as over any partition that they do not know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    next: BTreeMap<(usize, i32), i64>,
    ids: BTreeMap<usize, Fingerprint>,
}

/// So much of a topic's id as an event id holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint(i64);

impl Fingerprint {
    /// Where it stands instead of a partition.
    const PARTITION: i32 = i32::MAX;

    fn of(id: TopicId) -> Self {
        // 63 bits: the result is not negative.
        Self((id.as_u128() >> 65) as i64)
    }
}

/// More partitions than a client may name: far past what a topic has, and a bound on memory.
const MAX_PARTITIONS: usize = 10_000;

impl Position {
    /// `None` where `text` is no position of a feed of `topics` topics.
    pub fn parse(text: &str, topics: usize) -> Option<Self> {
        let (mut next, mut ids) = (BTreeMap::new(), BTreeMap::new());
        for part in text.split(',') {
            let (place, offset) = part.split_once(':')?;
            let (topic, partition) = place.split_once('.')?;
            let topic = number(topic).and_then(|n| usize::try_from(n).ok())?;
            let partition = number(partition).and_then(|n| i32::try_from(n).ok())?;
            if topic >= topics || next.len() >= MAX_PARTITIONS {
                return None;
            }
            let offset = number(offset)?;
            let twice = match partition {
                Fingerprint::PARTITION => ids.insert(topic, Fingerprint(offset)).is_some(),
                _ => next.insert((topic, partition), offset).is_some(),
            };
            if twice {
                return None;
            }
        }
        Some(Self { next, ids })
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

    /// The topic has this id from now on. Offsets that were of another one mean nothing any more and go; `true` then.
    pub(crate) fn identify(&mut self, topic: usize, id: TopicId) -> bool {
        let is_another = self.is_of_another(topic, id);
        if is_another {
            self.next.retain(|&(of, _), _| of != topic);
        }
        self.ids.insert(topic, Fingerprint::of(id));
        is_another
    }

    /// Whether the offsets of `topic` are known to be of another one than `id`.
    pub(crate) fn is_of_another(&self, topic: usize, id: TopicId) -> bool {
        let known = self.ids.get(&topic);
        known.is_some_and(|known| *known != Fingerprint::of(id))
    }

    /// The topics whose offsets here and in `other` are known to be of different ones.
    pub(crate) fn differing(&self, other: &Self) -> impl Iterator<Item = usize> {
        let differs = |(topic, id)| (other.ids.get(topic)? != id).then_some(*topic);
        self.ids.iter().filter_map(differs)
    }

    /// Takes over the ids that `other` knows and this one does not.
    pub(crate) fn learn_ids(&mut self, other: &Self) {
        for (topic, id) in &other.ids {
            self.ids.entry(*topic).or_insert(*id);
        }
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
        let ids = self.ids.iter();
        let ids = ids.map(|(&topic, id)| (topic, Fingerprint::PARTITION, id.0));
        for (index, (topic, partition, next)) in self.iter().chain(ids).enumerate() {
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
        fn text_and_back(
            next in proptest::collection::btree_map((0..3_usize, 0..20_i32), 0..i64::MAX, 1..20),
            ids in proptest::collection::btree_map(0..3_usize, 1_u128.., 0..3),
        ) {
            let mut position = Position { next, ..Position::default() };
            for (topic, id) in ids {
                prop_assert!(!position.identify(topic, TopicId::from_u128(id).unwrap()));
            }
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
    fn offsets_of_another_topic_of_the_same_name_are_known_by_its_id() {
        let [first, second] = [1, 2].map(|id| TopicId::from_u128(id << 100).unwrap());
        let mut old = Position::parse("0.0:17,0.1:4,1.0:3", 2).unwrap();
        assert!(!old.identify(0, first) && !old.is_of_another(0, first));
        assert_eq!(
            old.to_string(),
            "0.0:17,0.1:4,1.0:3,0.2147483647:34359738368"
        );
        let mut new = Position::parse("0.0:1", 2).unwrap();
        new.identify(0, second);
        assert_eq!(old.differing(&new).collect::<Vec<_>>(), [0]);
        assert!(old.is_of_another(0, second));
        assert!(old.identify(0, second));
        assert_eq!(old.to_string(), "1.0:3,0.2147483647:68719476736");
        // One that says nothing of ids may be of any.
        let mut unknown = Position::parse("0.0:17", 2).unwrap();
        assert_eq!(unknown.differing(&new).count(), 0);
        unknown.learn_ids(&new);
        assert_eq!(unknown.to_string(), "0.0:17,0.2147483647:68719476736");
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
