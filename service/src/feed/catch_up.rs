use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use kafka::{ConsumerRecord, ReaderEvent, Start, TopicPartition};
use tokio::sync::Semaphore;

use super::Since;
use super::hub::{Attach, Hub, frame, wanted};
use super::position::Position;
use crate::http::{EventFrame, EventSender};

/// Brings one client from where it was to where the hub is, and attaches it there.
pub(super) struct CatchUp {
    pub(super) hub: Arc<Hub>,
    pub(super) client: kafka::Client,
    pub(super) permits: Arc<Semaphore>,
    pub(super) key: Option<String>,
}

/// How often to look whether a reader has passed offsets without records, such as markers.
const LOOK: Duration = Duration::from_millis(200);

/// The client went away.
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
            Since::Event(position) => position,
            Since::Now => self.begun(&sender, Hub::position).await?,
            Since::Recent { seen: places } => {
                seen = places
                    .into_iter()
                    .filter_map(|(topic, partition, offset)| {
                        Some((self.hub.topic_index(&topic)?, partition, offset))
                    })
                    .collect();
                self.begun(&sender, Hub::floor).await?
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

    /// Reads from Kafka at `position`, sends what is wanted, and returns as soon as the hub can
    /// take over.
    async fn read(&self, sender: &EventSender, position: &mut Position) -> Result<(), Gone> {
        let _permit = tokio::select! {
            permit = self.permits.acquire() => permit,
            () = sender.closed() => return Err(Gone),
        };
        let topics = self.hub.topics();
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
            .from(Start::Offsets(offsets));
        let mut reader = match reader.build() {
            Ok(reader) => reader,
            Err(error) => {
                tracing::error!("event stream: {error}");
                return Err(Gone);
            }
        };
        while !self.hub.takes_over(position) {
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
                        position.set(topic, partition.partition, resumed);
                        let reset = reset(position, &partition, asked, resumed);
                        send(sender, reset).await?;
                    }
                }
                None => {}
            }
            for (partition, next) in reader.positions() {
                if let Some(topic) = self.hub.topic_index(&partition.topic) {
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
        position.advance(topic, record.partition, record.offset + 1);
        match self
            .hub
            .event(record)
            .filter(|event| wanted(event, self.key.as_deref()))
        {
            Some(event) => send(sender, frame(&event, position)).await,
            None => Ok(()),
        }
    }
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
