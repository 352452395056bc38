use std::collections::HashMap;
use std::time::Duration;

use dead_letters::{Entry, Letter as Whole, Marker};
use kafka::{Admin, Client, OffsetAt, TopicId, TopicPartition};
use proto::dead_letter::Place;
use service::kafka_glue::{Scan, ScanError};

use super::findings::{Asked, Letter, Letters};

/// How far clocks may differ: a letter of the time of its record is looked for from so long before the
/// registration on.
const CLOCKS: Duration = Duration::from_secs(3_600);

/// What is looked for.
pub(super) struct Search<'a> {
    pub(super) asked: &'a Asked,
    pub(super) user_id: i64,
    /// Of the topic that the event lies in; none: not known.
    pub(super) topic_id: Option<TopicId>,
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
) -> Result<Letters, ScanError> {
    let topic = search.asked.dead_letter_topic.as_str();
    let described = admin.describe_topics(&[topic]).await?;
    let Some(count) = described.first().map(|topic| topic.partitions.len() as i32) else {
        return Ok(Letters::NoTopic);
    };
    let of = TopicPartition::new(topic, search.partition);
    if search.partition >= count {
        return Ok(Letters::None);
    }
    let since = search
        .since
        .map(|since| OffsetAt::Timestamp(since.saturating_sub(CLOCKS.as_millis() as i64)));
    let at = since.unwrap_or(OffsetAt::Earliest);
    let mut first = admin.offsets(std::slice::from_ref(&of), at).await?;
    // Below 0: nothing is so young.
    first.retain(|_, first| *first >= 0);
    let first: HashMap<_, _> = first.into_iter().collect();
    if first.is_empty() {
        return Ok(Letters::None);
    }
    let mut scan = Scan::new(client, admin, first).await?;
    let mut found = Found::default();
    while let Some(records) = scan.next().await? {
        for record in records {
            if record.partition == of.partition {
                found.take(Entry::of(record), search);
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
    fn take(&mut self, entry: Entry, search: &Search<'_>) {
        match entry {
            Entry::Letter(letter) if is_of(&letter, search) => {
                let Whole {
                    place,
                    source,
                    reason,
                    ..
                } = *letter;
                let letter = Letter {
                    place,
                    reason,
                    replayed_to: None,
                };
                self.letters.push((source, letter));
            }
            // It lies behind its letter, in its partition.
            Entry::Marker(Marker {
                replay_of,
                replayed_to,
            }) => {
                let mut letters = self.letters.iter_mut();
                if let Some((_, letter)) = letters.find(|(_, letter)| letter.place == replay_of) {
                    letter.replayed_to = Some(replayed_to);
                }
            }
            _ => {}
        }
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

/// Whether a letter is the cart group's, of the event or of another record of the user.
fn is_of(letter: &Whole, search: &Search<'_>) -> bool {
    let asked = search.asked;
    let source = &letter.source;
    let same_topic = !TopicId::differ(letter.source_id(), search.topic_id);
    let is_event =
        same_topic && source.partition == search.partition && search.offset == Some(source.offset);
    let is_user = || letter.key.as_deref() == Some(search.user_id.to_string().as_bytes());
    letter.group == asked.group && source.topic == asked.users_topic && (is_event || is_user())
}

#[cfg(test)]
mod tests {
    use kafka::Headers;
    use proto::dead_letter::ORIGINAL_TOPIC_ID;

    use super::*;

    /// Of the record at offset 42 of the users' topic with this id.
    fn letter(topic_id: TopicId) -> Entry {
        let place = |topic: &str, offset| Place {
            topic: topic.into(),
            partition: 0,
            offset,
        };
        let id = topic_id.to_string();
        let id = (ORIGINAL_TOPIC_ID.as_bytes(), Some(id.as_bytes()));
        Entry::Letter(Box::new(Whole {
            place: place("users.events-dlt", 3),
            source: place("users.events", 42),
            group: "cart-service".into(),
            reason: "userId is missing".into(),
            attempts: "1".into(),
            time: "2026-01-02T03:04:05.678Z".into(),
            original_timestamp: 1_000,
            key: None,
            value: None,
            headers: Headers::from_pairs([id]),
        }))
    }

    #[test]
    fn a_letter_of_an_earlier_topic_of_the_same_name_is_of_another_event() {
        let asked = Asked {
            at: 0,
            users_topic: "users.events".into(),
            dead_letter_topic: "users.events-dlt".into(),
            group: "cart-service".into(),
            cart_service: "http://carts:5003".into(),
            outbox_retention: Duration::ZERO,
        };
        let [earlier, now] = [1, 2].map(|id| TopicId::from_u128(id).unwrap());
        let found = |of: TopicId, topic_id: Option<TopicId>| {
            let search = Search {
                asked: &asked,
                user_id: 1,
                topic_id,
                partition: 0,
                offset: Some(42),
                since: None,
            };
            let mut found = Found::default();
            found.take(letter(of), &search);
            matches!(found.into_letters(&search), Letters::Found(_))
        };
        assert!(found(now, Some(now)) && !found(earlier, Some(now)));
        // Where the topic's id is not known, the place alone says it.
        assert!(found(earlier, None));
    }
}
