//! What lies in the topics.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;
use kafka::{Client, ConsumerRecord, OffsetAt, ReaderEvent, TopicPartition};
use proto::dead_letter;
use proto::{Notification, Order, OrderStatusEvent, Spelling};
use tokio::time::timeout;

use crate::history::{
    Group, History, Letter, Millis, Outcome, Place, Placed, Record, Step, Stranger,
};
use crate::shop::Names;

/// How long reading everything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Reads every topic of a shop from its beginning to its end, into `history`.
///
/// # Panics
/// When Kafka does not answer.
pub async fn read_topics(client: &Client, names: &Names, history: &mut History) {
    let topics = names.topics();
    history.ends = each_record(client, &topics, |record| note(record, names, history)).await;
}

/// Reads those of some topics that exist, from their beginnings to their ends, which are answered.
///
/// # Panics
/// When Kafka does not answer.
pub async fn each_record(
    client: &Client,
    topics: &[String],
    mut look: impl FnMut(&ConsumerRecord),
) -> BTreeMap<TopicPartition, i64> {
    let ends = ends(client, topics).await;
    let mut open: HashSet<_> = ends
        .iter()
        .filter(|(_, end)| **end > 0)
        .map(|(partition, _)| partition.clone())
        .collect();
    let topics: HashSet<_> = ends.keys().map(|partition| &partition.topic).collect();
    let mut reader = client.reader().topics(topics).build().expect("topics");
    let reading = async {
        while !open.is_empty() {
            let event = reader.next_batch().await;
            if let ReaderEvent::Records(records) = event {
                records.iter().for_each(&mut look);
            }
            for (partition, position) in reader.positions() {
                if ends.get(&partition).is_some_and(|end| position >= *end) {
                    open.remove(&partition);
                }
            }
        }
    };
    let read = timeout(PATIENCE, reading).await;
    assert!(read.is_ok(), "not read to their ends: {open:?}");
    ends
}

/// The ends of those topics that exist.
///
/// # Panics
/// When Kafka does not answer.
pub async fn ends(client: &Client, topics: &[String]) -> BTreeMap<TopicPartition, i64> {
    let admin = client.admin().with_timeout(PATIENCE);
    let known = admin.topics().await.expect("topics are listed");
    let partitions: Vec<_> = known
        .iter()
        .filter(|topic| topics.iter().any(|name| **name == *topic.name))
        .flat_map(|topic| {
            let name: Arc<str> = (&*topic.name).into();
            (0..topic.partitions.len() as i32)
                .map(move |partition| TopicPartition::new(name.clone(), partition))
        })
        .collect();
    let ends = admin.offsets(&partitions, OffsetAt::Latest).await;
    ends.expect("offsets are listed")
}

fn note(record: &ConsumerRecord, names: &Names, history: &mut History) {
    let topic = &*record.topic;
    let value = record.value.as_deref().unwrap_or_default();
    if topic == names.statuses {
        let Ok(step) = OrderStatusEvent::decode(value) else {
            let reader = Group::View;
            return history.strangers.push(noted(record, Stranger { reader }));
        };
        let event = Step {
            order: (&*step.order_id).into(),
            end: step.status.outcome(),
        };
        history.steps.push(noted(record, event));
    } else if topic == names.notifications {
        let Ok(told) = Notification::decode(value) else {
            let reader = Group::Notification;
            return history.strangers.push(noted(record, Stranger { reader }));
        };
        let Some(end) = told.outcome() else {
            // A step that is printed and not stored.
            return;
        };
        let event = Outcome {
            order: (&*told.order_id).into(),
            end,
        };
        history.results.push(noted(record, event));
    } else if topic.ends_with(proto::topics::DEAD_LETTER_SUFFIX) {
        if let Some((time, letter)) = letter(record, names) {
            let letter = noted(record, letter);
            history.letters.push(Record { time, ..letter });
        }
    } else if let Ok(order) = Order::decode(value, Spelling::Camel) {
        let event = Placed {
            order: (&*order.order_id).into(),
        };
        history.orders.push(noted(record, event));
    } else {
        // Poison: it has no order, and must become a dead letter.
        let place = place(record);
        let event = Placed {
            order: format!("no order at {place}").into(),
        };
        history.orders.push(noted(record, event));
    }
}

fn noted<E>(record: &ConsumerRecord, event: E) -> Record<E> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into();
    Record {
        place: place(record),
        time: record.timestamp,
        key: record.key.as_deref().map(text),
        id: record.headers.get("ce_id").map(text),
        event,
    }
}

fn place(record: &ConsumerRecord) -> Place {
    Place {
        topic: record.topic.clone(),
        partition: record.partition,
        offset: record.offset,
    }
}

/// A dead letter and when its record could not be handled. `None`
/// for the marker of a replay.
fn letter(record: &ConsumerRecord, names: &Names) -> Option<(Millis, Letter)> {
    let text = |name| std::str::from_utf8(record.headers.get(name)?).ok();
    let time = DateTime::parse_from_rfc3339(text(dead_letter::TIME)?).ok()?;
    let group = text(dead_letter::CONSUMER_GROUP)?;
    let mut groups = names.groups().into_iter();
    let letter = Letter {
        of: Place {
            topic: text(dead_letter::ORIGINAL_TOPIC)?.into(),
            partition: text(dead_letter::ORIGINAL_PARTITION)?.parse().ok()?,
            offset: text(dead_letter::ORIGINAL_OFFSET)?.parse().ok()?,
        },
        group: groups.find(|(_, name)| name == group)?.0,
    };
    Some((time.timestamp_millis(), letter))
}
