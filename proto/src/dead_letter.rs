//! The headers of records on the `<topic>-dlt` topics, and of records replayed from there.

pub const ORIGINAL_TOPIC: &str = "dlt-original-topic";
/// The id of that topic, as Kafka's tools write it; absent where it is not known.
pub const ORIGINAL_TOPIC_ID: &str = "dlt-original-topic-id";
pub const ORIGINAL_PARTITION: &str = "dlt-original-partition";
pub const ORIGINAL_OFFSET: &str = "dlt-original-offset";
/// The record's time in milliseconds since 1970, in decimal; -1 if it had none. The letter's own time is that
/// of its sending, so that it is kept as long as any that is written then. Kept by a replay.
pub const ORIGINAL_TIMESTAMP: &str = "dlt-original-timestamp";
/// The group whose member could not handle the record; kept by a replay.
pub const CONSUMER_GROUP: &str = "dlt-consumer-group";
pub const REASON: &str = "dlt-reason";
pub const ATTEMPTS: &str = "dlt-attempts";
pub const TIME: &str = "dlt-time";
/// What of the record did not fit into the letter: `value`, or `key, value, headers`.
pub const OMITTED: &str = "dlt-omitted";
/// On a letter that passes over a batch which nobody can read: the last offset of the range; the original offset is
/// the first.
pub const LAST_OFFSET: &str = "dlt-last-offset";
/// On a replayed record, and on the claim and the marker of its replay: where the dead letter lies, see [`Place`].
pub const REPLAY_OF: &str = "dlt-replay-of";
/// On the marker of a replay: where the replayed record lies.
pub const REPLAYED_TO: &str = "dlt-replayed-to";

/// Where a record lies; written `topic/partition/offset`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

impl Place {
    /// None if `text` is not a place.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.rsplitn(3, '/');
        let offset = parts.next()?.parse().ok().filter(|offset| *offset >= 0)?;
        let partition = parts.next()?.parse().ok().filter(|number| *number >= 0)?;
        let topic = parts.next().filter(|topic| !topic.is_empty())?;
        Some(Self {
            topic: topic.to_owned(),
            partition,
            offset,
        })
    }

    /// Whether both lie in one partition, so that one comes before the other.
    pub fn shares_partition_with(&self, other: &Self) -> bool {
        (&self.topic, self.partition) == (&other.topic, other.partition)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// Whether a record is a replay that another group asked for: only the group that failed acts on
/// it, for all others have handled it before.
pub fn is_for_another_group<'a>(group: &str, lookup: impl Fn(&str) -> Option<&'a [u8]>) -> bool {
    lookup(REPLAY_OF).is_some()
        && lookup(CONSUMER_GROUP).is_some_and(|failed| failed != group.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_group_that_failed_acts_on_a_replay() {
        let replay = |name: &str| match name {
            REPLAY_OF => Some(&b"orders-dlt/0/3"[..]),
            CONSUMER_GROUP => Some(&b"order-processing"[..]),
            _ => None,
        };
        assert!(!is_for_another_group("order-processing", replay));
        assert!(is_for_another_group("order-view", replay));
        // No replay, or one that does not say: for everybody.
        assert!(!is_for_another_group("order-view", |_| None));
        assert!(!is_for_another_group("order-view", |name| {
            (name == CONSUMER_GROUP).then_some(&b"order-processing"[..])
        }));
        assert!(!is_for_another_group("order-view", |name| {
            (name == REPLAY_OF).then_some(&b"orders-dlt/0/3"[..])
        }));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "a", "a/1", "/1/2", "a/x/2", "a/1/x", "a/-1/2", "a/1/-2"] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn places_are_read_as_written(
            topic in "[a-z._-]{1,20}", partition in 0..i32::MAX, offset in 0..i64::MAX
        ) {
            let place = Place { topic, partition, offset };
            prop_assert_eq!(Place::parse(&place.to_string()), Some(place));
        }
    }
}
