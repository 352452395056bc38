//! Topics followed and fanned out to event streams, without a consumer group: every instance sees
//! every record, and an event's id holds the next offset of each partition, so that
//! `Last-Event-ID` resumes on any instance.
//!
//! [`Feed::follow`] reads the topics from their end and hands records to the `hub`, which keeps the
//! recent ones in a ring and passes new ones to attached clients. A client that resumes from
//! before the ring is caught up by a `reader` of its own and attached once it has reached the hub.

mod catch_up;
mod follow;
mod hub;
mod position;
mod ring;

use std::sync::Arc;
use std::time::Duration;

use kafka::{ConsumerRecord, TopicId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::http::{EventFrame, Problem, Response, event_stream};
use catch_up::CatchUp;
use hub::Hub;
pub use position::Position;

/// What a record becomes for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEvent {
    /// What clients may ask for alone, such as the order id; `None`: only in the whole stream.
    pub key: Option<String>,
    /// The event's name.
    pub name: &'static str,
    /// Its JSON.
    pub data: String,
}

/// Turns a record into an event; `None` for records that are none.
pub trait FeedSource: Send + Sync + 'static {
    fn event(&self, record: &ConsumerRecord) -> Option<FeedEvent>;
}

/// Bounds of a [`Feed`].
#[derive(Clone, Copy, Debug)]
pub struct FeedConfig {
    /// Events that may wait for a slow client before it is dropped.
    pub client_buffer: usize,
    /// Recent records kept for streams that begin with what just happened.
    pub ring_records: usize,
    /// Bytes of keys and values that the ring may hold.
    pub ring_bytes: usize,
    /// Clients that may read older records from Kafka at once; others wait their turn.
    pub catch_ups: usize,
    /// How long one of them may read; then its stream ends, and the client comes back from where it
    /// is and waits its turn like the others.
    pub catch_up_turn: Duration,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            client_buffer: 256,
            ring_records: 4_096,
            ring_bytes: 4 << 20,
            catch_ups: 16,
            catch_up_turn: Duration::from_secs(30),
        }
    }
}

/// Where a client's stream begins.
#[derive(Clone, Debug)]
pub enum Since {
    /// With the next event.
    Now,
    /// With what the ring holds, without the records the client has seen already.
    Recent { seen: Vec<SeenRecord> },
    /// Where another stream ended.
    Event(Position),
}

/// A record that a client has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRecord {
    pub topic: String,
    /// `None`: not known.
    pub topic_id: Option<TopicId>,
    pub partition: i32,
    pub offset: i64,
}

/// One feed of one service. Clones share it.
#[derive(Clone)]
pub struct Feed {
    hub: Arc<Hub>,
    client: kafka::Client,
    catch_ups: Arc<Semaphore>,
    config: FeedConfig,
}

/// How long a client waits before it connects again after the stream ended.
const RETRY: Duration = Duration::from_secs(2);

/// How long a resuming client waits for a partition that this instance has not heard of yet.
const UNKNOWN_PARTITION: Duration = Duration::from_secs(5);

impl Feed {
    /// A feed of `topics`; reads nothing before [`Feed::follow`].
    pub fn new(
        client: kafka::Client,
        topics: &[&str],
        source: impl FeedSource,
        config: FeedConfig,
    ) -> Self {
        Self {
            hub: Arc::new(Hub::new(topics, Box::new(source), config)),
            client,
            catch_ups: Arc::new(Semaphore::new(config.catch_ups.max(1))),
            config,
        }
    }

    /// Reads the topics and feeds the clients, until `stop`.
    ///
    /// # Errors
    /// A setting that Kafka's client refuses; brokers that are away are waited for.
    pub async fn follow(self, stop: CancellationToken) -> Result<(), kafka::ConfigError> {
        follow::follow(self.hub, self.client, stop).await
    }

    /// Clients attached now, and clients dropped because they were too slow.
    pub fn clients(&self) -> (usize, u64) {
        self.hub.clients()
    }

    /// What `Last-Event-ID` says, if it is one of this feed's ids.
    ///
    /// # Errors
    /// 400 where it is not.
    pub fn position(&self, last_event_id: &str) -> Result<Position, Problem> {
        Position::parse(last_event_id, self.hub.topics().len()).ok_or_else(|| {
            Problem::bad_request("Last-Event-ID is not an id that this stream gave out")
        })
    }

    /// An event stream: `first`, then events from `since` on; with `key`, only those of that key.
    /// Ends at `stop`.
    pub fn stream(
        &self,
        key: Option<String>,
        first: Vec<EventFrame>,
        since: Since,
        stop: &CancellationToken,
    ) -> Response {
        let (sender, response) = event_stream(self.config.client_buffer, stop);
        let catch_up = CatchUp {
            hub: self.hub.clone(),
            client: self.client.clone(),
            permits: self.catch_ups.clone(),
            turn: self.config.catch_up_turn,
            patience: UNKNOWN_PARTITION,
            key,
        };
        let stop = stop.clone();
        tokio::spawn(async move {
            let work = async {
                if !sender.send(EventFrame::retry(RETRY)).await {
                    return;
                }
                for frame in first {
                    if !sender.send(frame).await {
                        return;
                    }
                }
                catch_up.run(sender, since).await;
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
        response
    }
}
