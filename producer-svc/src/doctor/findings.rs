use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{CommittedOffset, GroupDescription, TopicId};
use proto::dead_letter;
use service::outbox::{Place, Published};

/// What was asked and answered, or why it cannot be told.
pub(super) type Seen<T> = Result<T, String>;

/// Everything that was seen of a user's way to a cart.
#[derive(Debug, Clone)]
pub(super) struct Findings {
    pub(super) user_id: i64,
    pub(super) asked: Asked,
    /// When the user registered, in milliseconds since 1970; none: there is no such user.
    pub(super) user: Seen<Option<i64>>,
    /// The user's event in the topic though the database has neither user nor event: another system registered them.
    /// None: not found, or not asked for.
    pub(super) foreign: Seen<Option<Foreign>>,
    /// The `UserCreated` in the outbox; none: not there (any more).
    pub(super) event: Seen<Option<Published>>,
    /// How many partitions the users' topic has; none: it does not exist. An error: Kafka is away.
    pub(super) topic: Seen<Option<i32>>,
    /// The id of the users' topic; none: not known.
    pub(super) topic_id: Option<TopicId>,
    pub(super) record: Seen<Record>,
    pub(super) group: Seen<GroupDescription>,
    /// The cart group's commits by partition of the users' topic.
    pub(super) committed: Seen<BTreeMap<i32, CommittedOffset>>,
    pub(super) letter: Seen<Letters>,
    pub(super) cart_service: Seen<Readiness>,
    pub(super) cart: Seen<Cart>,
}

/// Whom and what was asked for: the names that advice mentions.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// Milliseconds since 1970.
    pub(super) at: i64,
    pub(super) users_topic: String,
    pub(super) dead_letter_topic: String,
    pub(super) group: String,
    pub(super) cart_service: String,
    /// How long the outbox keeps what is published.
    pub(super) outbox_retention: Duration,
}

/// The place in Kafka where the event should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// None: nobody knows the offset to look at.
    pub(super) there: Option<There>,
    /// The partition's first offset.
    pub(super) begin: i64,
    /// Where its next record will be.
    pub(super) end: i64,
}

/// A `UserCreated` that this service did not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// The record's, milliseconds since 1970.
    pub(super) time: i64,
}

/// What lies at the event's offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    Event,
    Nothing,
    /// Another record.
    Another,
}

/// What the dead letters say about the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Letters {
    NoTopic,
    None,
    Found(Letter),
}

/// The cart group's dead letter of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) place: dead_letter::Place,
    pub(super) reason: String,
    pub(super) replayed_to: Option<dead_letter::Place>,
}

/// What consumer-svc says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readiness {
    /// Name and problem of what it does without.
    Told(Vec<(String, String)>),
    /// It answers, but not as consumer-svc does: another cart service.
    NotTold(u16),
}

impl Readiness {
    /// What it says is wrong with one of its parts.
    pub(super) fn problem_of(&self, part: &str) -> Option<&str> {
        match self {
            Self::Told(problems) => problems
                .iter()
                .find(|(name, _)| name == part)
                .map(|(_, problem)| problem.as_str()),
            Self::NotTold(_) => None,
        }
    }
}

/// What consumer-svc answers when it is asked for the cart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cart {
    There {
        id: i64,
        items: usize,
    },
    Missing,
    /// This instance keeps no carts.
    NotKept,
}

impl Findings {
    /// The event's partition, as stored with it, or where its key belongs.
    pub(super) fn partition(&self) -> Option<i32> {
        let stored = self.place().map(|place| place.partition);
        let by_key = || {
            let count = self.topic.as_ref().ok().copied().flatten()?;
            Some(kafka::partition_for_key(
                self.user_id.to_string().as_bytes(),
                count,
            ))
        };
        let foreign = self.foreign().map(|foreign| foreign.partition);
        stored
            .filter(|partition| *partition >= 0)
            .or(foreign)
            .or_else(by_key)
    }

    /// The event's offset, if Kafka said it.
    pub(super) fn offset(&self) -> Option<i64> {
        match &self.event {
            Ok(Some(_)) => self.place()?.offset,
            _ => self.foreign().map(|foreign| foreign.offset),
        }
    }

    /// Where the event was published, unless that was another topic than there is now.
    fn place(&self) -> Option<Place> {
        self.published()
            .filter(|place| !TopicId::differ(place.topic_id, self.topic_id))
    }

    fn published(&self) -> Option<Place> {
        match &self.event {
            Ok(Some(event)) => event.place,
            _ => None,
        }
    }

    /// Where the event was published, if that was a topic that has been deleted since, and created again.
    pub(super) fn gone_with_its_topic(&self) -> Option<Place> {
        match self.place() {
            None => self.published(),
            Some(_) => None,
        }
    }

    /// The event of a user whom another system registered.
    pub(super) fn foreign(&self) -> Option<Foreign> {
        self.foreign.as_ref().ok().copied().flatten()
    }
}
