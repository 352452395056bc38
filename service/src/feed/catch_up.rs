use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kafka::{ConsumerRecord, Reader, ReaderEvent, Start, TopicPartition};
use tokio::sync::Semaphore;

use super::hub::{Attach, Hub, frame, wanted};
use super::position::Position;
use super::{SeenRecord, Since};
use crate::http::{EventFrame, EventSender};

/// Brings one client from where it was to where the hub is, and attaches it there.
pub(super) struct CatchUp {
    pub(super) hub: Arc<Hub>,
    pub(super) client: kafka::Client,
    pub(super) permits: Arc<Semaphore>,
    /// How long a permit may be held.
    pub(super) turn: Duration,
    /// How long a partition is waited for that only the client knows: another instance may have
    /// heard of it first. What is still unknown then was never given out.
    pub(super) patience: Duration,
    pub(super) key: Option<String>,
}

/// How often to look whether a reader has passed offsets without records, such as markers.
const LOOK: Duration = Duration::from_millis(200);

/// The client went away, or is sent away.
struct Gone;

impl CatchUp {
    /// Ends once the client is attached or gone.
    pub(super) async fn run(self, sender: EventSender, since: Since) {
        // Going away is not worth a word.
        let _: Result<(), Gone> = self.bring(sender, since).await;
    }

    async fn bring(&self, mut sender: EventSender, since: Since) -> Result<(), Gone> {
        let mut seen = HashSet::new();
        let mut position = match since {
            Since::Event(mut position) => {
                self.begun(&sender, Hub::position).await?;
                self.check(&sender, &mut position).await?;
                position
            }
            Since::Now => self.begun(&sender, Hub::position).await?,
            Since::Recent { seen: records } => {
                let floor = self.begun(&sender, Hub::floor).await?;
                let place = |record: SeenRecord| {
                    let topic = self.hub.topic_index(&record.topic)?;
                    let ours = self.hub.is_of_ours(topic, record.topic_id);
                    ours.then_some((topic, record.partition, record.offset))
                };
                seen = records.into_iter().filter_map(place).collect();
                floor
            }
        };
        loop {
            match self
                .hub
                .attach(sender, self.key.as_deref(), &mut position, &seen)
            {
                Attach::Attached => return Ok(()),
                Attach::Behind(frames, back) => {
                    sender = back;
                    for frame in frames {
                        send(&sender, frame).await?;
                    }
                }
                Attach::Apart(back) => {
                    sender = back;
                    self.begun(&sender, Hub::position).await?;
                    self.read(&sender, &mut position).await?;
                }
            }
        }
    }

    /// What `of` says of the hub, as soon as it has begun.
    async fn begun(
        &self,
        sender: &EventSender,
        of: impl Fn(&Hub) -> Option<Position>,
    ) -> Result<Position, Gone> {
        loop {
            let moved = self.hub.moved();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if let Some(position) = of(&self.hub) {
                return Ok(position);
            }
            tokio::select! {
                () = moved => {}
                () = sender.closed() => return Err(Gone),
            }
        }
    }

    /// Takes partitions out of `position` that do not exist: nothing would ever come of them.
    async fn check(&self, sender: &EventSender, position: &mut Position) -> Result<(), Gone> {
        let known = async {
            loop {
                let moved = self.hub.moved();
                tokio::pin!(moved);
                moved.as_mut().enable();
                if self.hub.knows(position) {
                    return;
                }
                moved.await;
            }
        };
        tokio::select! {
            _ = tokio::time::timeout(self.patience, known) => {}
            () = sender.closed() => return Err(Gone),
        }
        self.hub.forget_unknown(position);
        Ok(())
    }

    /// Reads from Kafka at `position` until the hub can take over, for one turn at most.
    async fn read(&self, sender: &EventSender, position: &mut Position) -> Result<(), Gone> {
        let _permit = tokio::select! {
            permit = self.permits.acquire() => permit,
            () = sender.closed() => return Err(Gone),
        };
        match tokio::time::timeout(self.turn, self.read_on(sender, position)).await {
            Ok(result) => result,
            Err(_) => {
                // Also past events that were not wanted, so that the next turn begins further on.
                sender.try_send(EventFrame::position(&position.to_string()));
                Err(Gone)
            }
        }
    }

    /// Reads from Kafka at `position`, sends what is wanted, and returns as soon as the hub can
    /// take over. Dropped, `position` is what has been sent.
    async fn read_on(&self, sender: &EventSender, position: &mut Position) -> Result<(), Gone> {
        let topics = self.hub.topics();
        let recreated = self.hub.recreated(position);
        let offsets: HashMap<TopicPartition, i64> = position
            .iter()
            .map(|(topic, partition, next)| {
                (TopicPartition::new(topics[topic].clone(), partition), next)
            })
            .collect();
        let reader = self
            .client
            .reader()
            .topics(topics)
            .from(Start::Offsets(offsets))
            .recreated(recreated.iter().map(|topic| topics[*topic].clone()));
        let mut reader = match reader.build() {
            Ok(reader) => reader,
            Err(error) => {
                tracing::error!("event stream: {error}");
                return Err(Gone);
            }
        };
        // The client is told of each of these that it begins anew, before the hub takes over.
        let mut to_reset: HashSet<(usize, i32)> = position
            .iter()
            .filter(|(topic, _, _)| recreated.contains(topic))
            .map(|(topic, partition, _)| (topic, partition))
            .collect();
        while !to_reset.is_empty() || !self.hub.takes_over(position) {
            let event = tokio::select! {
                event = reader.next_batch() => Some(event),
                () = tokio::time::sleep(LOOK) => None,
                () = sender.closed() => return Err(Gone),
            };
            match event {
                Some(ReaderEvent::Records(records)) => {
                    for record in records {
                        self.pass(sender, position, &record).await?;
                    }
                }
                Some(ReaderEvent::Reset {
                    partition,
                    asked,
                    resumed,
                }) => {
                    if let Some(topic) = self.hub.topic_index(&partition.topic) {
                        let mut after = position.clone();
                        identify(&mut after, topic, &reader, &partition.topic);
                        to_reset.remove(&(topic, partition.partition));
                        after.set(topic, partition.partition, resumed);
                        let reset = reset(&after, &partition, asked, resumed);
                        send(sender, reset).await?;
                        *position = after;
                    }
                }
                None => {}
            }
            for (partition, next) in reader.positions() {
                if let Some(topic) = self.hub.topic_index(&partition.topic)
                    && !is_stale(position, topic, &reader, &partition.topic)
                {
                    position.advance(topic, partition.partition, next);
                }
            }
        }
        Ok(())
    }

    async fn pass(
        &self,
        sender: &EventSender,
        position: &mut Position,
        record: &ConsumerRecord,
    ) -> Result<(), Gone> {
        let Some(topic) = self.hub.topic_index(&record.topic) else {
            return Ok(());
        };
        if let Some(id) = record.topic_id {
            position.identify(topic, id);
        }
        let next = record.offset + 1;
        let event = self.hub.event(record);
        if let Some(event) = event.filter(|event| wanted(event, self.key.as_deref())) {
            let mut after = position.clone();
            after.advance(topic, record.partition, next);
            send(sender, frame(&event, &after)).await?;
            *position = after;
        } else {
            position.advance(topic, record.partition, next);
        }
        Ok(())
    }
}

/// The offsets of `topic` are of the one that is being read.
fn identify(position: &mut Position, topic: usize, reader: &Reader, name: &str) {
    if let Some(id) = reader.topic_id(name) {
        position.identify(topic, id);
    }
}

/// Whether the offsets of `topic` are of another one than is being read: a reset is on its way.
fn is_stale(position: &Position, topic: usize, reader: &Reader, name: &str) -> bool {
    let id = reader.topic_id(name);
    id.is_some_and(|id| position.is_of_another(topic, id))
}

/// Tells a client that events between two offsets are no longer to be had.
pub(super) fn reset(
    position: &Position,
    partition: &TopicPartition,
    asked: i64,
    resumed: i64,
) -> EventFrame {
    let data = serde_json::json!({
        "topic": &*partition.topic,
        "partition": partition.partition,
        "asked": asked,
        "resumed": resumed,
    });
    EventFrame::new(
        Some(&position.to_string()),
        Some("reset"),
        &data.to_string(),
    )
}

async fn send(sender: &EventSender, frame: EventFrame) -> Result<(), Gone> {
    if sender.send(frame).await {
        Ok(())
    } else {
        Err(Gone)
    }
}

#[cfg(test)]
mod tests;
