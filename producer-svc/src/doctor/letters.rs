use std::collections::HashMap;
use std::time::Duration;

use kafka::{Admin, Client, ConsumerRecord, Error, OffsetAt, ReaderEvent, Start, TopicPartition};
use proto::dead_letter::{
    CONSUMER_GROUP, ORIGINAL_OFFSET, ORIGINAL_PARTITION, ORIGINAL_TOPIC, Place, REASON, REPLAY_OF,
    REPLAYED_TO,
};

use super::findings::{Asked, Letter, Letters};

/// How far clocks may differ: a letter of the time of its record is looked for from so long before the
/// registration on.
const CLOCKS: Duration = Duration::from_secs(3_600);

/// How often a walk that gets nothing looks whether it is through: behind the last letter may lie
/// what is not delivered.
const LOOK: Duration = Duration::from_millis(50);

/// What is looked for.
pub(super) struct Search<'a> {
    pub(super) asked: &'a Asked,
    pub(super) user_id: i64,
    /// Of the event; a letter lies in the partition of its record.
    pub(super) partition: i32,
    /// None: not known. Then the user's key says which letter it is.
    pub(super) offset: Option<i64>,
    /// When the event was made, in milliseconds since 1970; none: not known.
    pub(super) since: Option<i64>,
}

/// The cart group's dead letter of the event: the last one, if a replay of it failed again.
///
/// # Errors
/// Kafka's. Not bounded in time: a partition may have any number of letters.
pub(super) async fn find(
    client: &Client,
    admin: &Admin,
    search: &Search<'_>,
) -> Result<Letters, Error> {
    let topic = search.asked.dead_letter_topic.as_str();
    let described = admin.describe_topics(&[topic]).await?;
    let Some(count) = described.first().map(|topic| topic.partitions.len() as i32) else {
        return Ok(Letters::NoTopic);
    };
    let of = TopicPartition::new(topic, search.partition);
    if search.partition >= count {
        return Ok(Letters::None);
    }
    let all: Vec<_> = (0..count)
        .map(|partition| TopicPartition::new(topic, partition))
        .collect();
    let since = search
        .since
        .map(|since| OffsetAt::Timestamp(since.saturating_sub(CLOCKS.as_millis() as i64)));
    let first = admin
        .offsets(
            std::slice::from_ref(&of),
            since.unwrap_or(OffsetAt::Earliest),
        )
        .await?;
    // The reader takes whole topics: of the other partitions, nothing.
    let mut from: HashMap<_, _> = admin
        .offsets(&all, OffsetAt::Latest)
        .await?
        .into_iter()
        .collect();
    let end = from.get(&of).copied().unwrap_or(0);
    let Some(first) = first
        .get(&of)
        .copied()
        .filter(|first| (0..end).contains(first))
    else {
        return Ok(Letters::None);
    };
    from.insert(of.clone(), first);
    let reader = client.reader().topics([topic]).from(Start::Offsets(from));
    let mut reader = reader.build().expect("a topic is named");
    let mut found = Found::default();
    let through = |positions: &[(TopicPartition, i64)]| {
        let mut positions = positions.iter();
        positions.any(|(at, position)| *at == of && *position >= end)
    };
    while !through(&reader.positions()) {
        if let Ok(ReaderEvent::Records(records)) =
            tokio::time::timeout(LOOK, reader.next_batch()).await
        {
            for record in records
                .iter()
                .filter(|record| record.partition == of.partition)
            {
                found.take(record, search);
            }
        }
    }
    Ok(found.into_letters(search))
}

/// Letters that may be the event's, and which of them were replayed.
#[derive(Default)]
struct Found {
    /// With the place of each one's record.
    letters: Vec<(Place, Letter)>,
}

impl Found {
    fn take(&mut self, record: &ConsumerRecord, search: &Search<'_>) {
        let text = |name: &str| record.headers.get_str(name);
        let Some(topic) = text(ORIGINAL_TOPIC) else {
            // A marker lies behind its letter, in its partition.
            let places = text(REPLAY_OF).and_then(Place::parse);
            if let (Some(of), Some(to)) = (places, text(REPLAYED_TO).and_then(Place::parse))
                && let Some((_, letter)) = self.letters.iter_mut().find(|(_, l)| l.place == of)
            {
                letter.replayed_to = Some(to);
            }
            return;
        };
        if text(CONSUMER_GROUP) != Some(&search.asked.group) || topic != search.asked.users_topic {
            return;
        }
        let number = |name: &str| text(name).unwrap_or_default().to_owned();
        let source = format!(
            "{topic}/{}/{}",
            number(ORIGINAL_PARTITION),
            number(ORIGINAL_OFFSET)
        );
        let Some(source) = Place::parse(&source) else {
            return;
        };
        let is_user = record.key.as_deref() == Some(search.user_id.to_string().as_bytes());
        let is_event = search.offset == Some(source.offset) && source.partition == search.partition;
        if !is_user && !is_event {
            return;
        }
        let letter = Letter {
            place: Place {
                topic: record.topic.to_string(),
                partition: record.partition,
                offset: record.offset,
            },
            reason: text(REASON).unwrap_or("no reason is given").to_owned(),
            replayed_to: None,
        };
        self.letters.push((source, letter));
    }

    fn into_letters(mut self, search: &Search<'_>) -> Letters {
        let Some(offset) = search.offset else {
            // The user's last: of all records of the user, the events of creation alone can fail.
            return self
                .letters
                .pop()
                .map_or(Letters::None, |(_, letter)| Letters::Found(letter));
        };
        let mut place = Place {
            topic: search.asked.users_topic.clone(),
            partition: search.partition,
            offset,
        };
        let mut found = Letters::None;
        // Each replay lies behind the one before, so this ends.
        while let Some(at) = self.letters.iter().position(|(source, _)| *source == place) {
            let (_, letter) = self.letters.swap_remove(at);
            let replayed_to = letter.replayed_to.clone();
            found = Letters::Found(letter);
            match replayed_to {
                Some(to) => place = to,
                None => break,
            }
        }
        found
    }
}
