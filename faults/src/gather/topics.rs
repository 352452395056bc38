//! What lies in the topics.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kafka::{Client, ConsumerRecord, OffsetAt, ReaderEvent, TopicPartition};
use proto::dead_letter;
use proto::{Notification, Order, OrderStatusEvent, Spelling};
use tokio::time::timeout;

use crate::history::{History, Letter, Outcome, Place, Placed, Record, Step};
use crate::shop::Names;

/// How long reading everything may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Reads every topic of a shop from its beginning to its end, into `history`.
///
/// # Panics
/// When Kafka does not answer, or a record of ours cannot be read.
pub async fn read_topics(client: &Client, names: &Names, history: &mut History) {
    let ends = ends(client, &names.topics()).await;
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
                for record in &records {
                    note(record, names, history);
                }
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
    history.ends = ends;
}

/// The ends of those topics that exist.
async fn ends(client: &Client, topics: &[String]) -> BTreeMap<TopicPartition, i64> {
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
        let step = OrderStatusEvent::decode(value).unwrap_or_else(|error| strange(record, &error));
        let event = Step {
            order: (&*step.order_id).into(),
            end: step.status.outcome(),
        };
        history.steps.push(noted(record, event));
    } else if topic == names.notifications {
        let told = Notification::decode(value).unwrap_or_else(|error| strange(record, &error));
        let event = Outcome {
            order: (&*told.order_id).into(),
            end: told.status,
        };
        history.results.push(noted(record, event));
    } else if topic.ends_with(proto::topics::DEAD_LETTER_SUFFIX) {
        if let Some(letter) = letter(record) {
            history.letters.push(noted(record, letter));
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

/// `None` for the marker of a replay.
fn letter(record: &ConsumerRecord) -> Option<Letter> {
    let text = |name| std::str::from_utf8(record.headers.get(name)?).ok();
    Some(Letter {
        of: Place {
            topic: text(dead_letter::ORIGINAL_TOPIC)?.into(),
            partition: text(dead_letter::ORIGINAL_PARTITION)?.parse().ok()?,
            offset: text(dead_letter::ORIGINAL_OFFSET)?.parse().ok()?,
        },
        group: text(dead_letter::CONSUMER_GROUP)?.into(),
    })
}

fn strange(record: &ConsumerRecord, error: &dyn std::fmt::Display) -> ! {
    panic!("{} holds no event of ours: {error}", place(record))
}
