//! Events of books as impatient senders send them: each twice, the second one into any partition.

use std::sync::Arc;
use std::time::Duration;

use kafka::{Client, OutgoingRecord, Producer};
use proto::{BookEvent, BookEventKind};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::sums::{Sums, event, event_of};
use crate::process::PATIENCE;

/// Events that are sent together, before the next are.
const TOGETHER: u64 = 10;

/// The topics of book events, by [`BookEventKind::ALL`].
pub type BookTopics = [String; 5];

/// Events on their way, without an end. Dropping it ends it.
pub struct BookLoad {
    sent: watch::Receiver<u64>,
    enough: watch::Sender<bool>,
    task: JoinHandle<(u64, Sums)>,
}

impl BookLoad {
    /// So many a second at most, each in two records.
    ///
    /// # Panics
    /// Never: the producer's settings are its defaults.
    pub fn start(client: &Client, topics: &BookTopics, rate: u64, random: fastrand::Rng) -> Self {
        let sender = EventSender {
            producer: client.producer().build().expect("a producer"),
            topics: Arc::new(topics.clone()),
        };
        let (sent, receiver) = watch::channel(0);
        let (enough, told) = watch::channel(false);
        Self {
            sent: receiver,
            enough,
            task: tokio::spawn(run(sender, rate, random, sent, told)),
        }
    }

    /// Waits until so many are acknowledged.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn reached(&mut self, count: u64) {
        let patience = PATIENCE + Duration::from_millis(50 * count);
        let reached = timeout(patience, self.sent.wait_for(|sent| *sent >= count)).await;
        assert!(
            reached.is_ok_and(|reached| reached.is_ok()),
            "{count} events are not acknowledged"
        );
    }

    /// Ends it; how many it sent and what they come to. The last one of every partition is a new one:
    /// where that is counted, everything before it has been read.
    ///
    /// # Panics
    /// When the last ones are not taken.
    pub async fn finish(mut self) -> (u64, Sums) {
        self.enough.send_replace(true);
        let ended = timeout(PATIENCE, &mut self.task).await;
        ended.expect("it ends in time").expect("no panic")
    }
}

impl Drop for BookLoad {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    sender: EventSender,
    rate: u64,
    mut random: fastrand::Rng,
    sent: watch::Sender<u64>,
    enough: watch::Receiver<bool>,
) -> (u64, Sums) {
    let mut sums = Sums::default();
    let mut number = 0;
    let mut pace = interval(Duration::from_micros(1_000_000 * TOGETHER / rate));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*enough.borrow() {
        pace.tick().await;
        let events: Vec<_> = (number..number + TOGETHER).map(event).collect();
        let mut records = Vec::new();
        for event in &events {
            let partitions = event.detail.kind().topic().partitions;
            records.push((event, None));
            records.push((event, Some(random.i32(0..partitions))));
            sums.add(event);
        }
        random.shuffle(&mut records);
        sender.send(&records).await;
        number += TOGETHER;
        sent.send_replace(number);
    }
    for kind in BookEventKind::ALL {
        for partition in 0..kind.topic().partitions {
            let last = event_of(kind, number);
            sums.add(&last);
            sender.send(&[(&last, Some(partition))]).await;
            number += 1;
        }
    }
    (number, sums)
}

/// Writes events to Kafka past producer-svc.
struct EventSender {
    producer: Producer,
    topics: Arc<BookTopics>,
}

impl EventSender {
    /// Each into this partition, or into that of its key.
    async fn send(&self, events: &[(&BookEvent<'_>, Option<i32>)]) {
        let mut deliveries = Vec::new();
        for (event, partition) in events {
            let kind = event.detail.kind();
            let key = match &event.user_id {
                Some(user) if kind.is_keyed_by_user() => user.to_string(),
                _ => event.book_id.to_string(),
            };
            let mut value = Vec::new();
            event.write(&mut value);
            let record = OutgoingRecord {
                topic: &self.topics[place(kind)],
                partition: *partition,
                key: Some(key.as_bytes()),
                value: Some(&value),
                ..OutgoingRecord::default()
            };
            deliveries.push(self.producer.enqueue(&record).expect("room for a record"));
        }
        for delivery in deliveries {
            delivery.await.expect("it is taken");
        }
    }
}

/// Where a kind stands in [`BookEventKind::ALL`].
fn place(kind: BookEventKind) -> usize {
    let found = BookEventKind::ALL.iter().position(|known| *known == kind);
    found.expect("one of all kinds")
}
