use std::sync::Arc;
use std::time::Duration;

use kafka::{ConsumerRecord, Reader, ReaderEvent, Start};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::catch_up::reset;
use super::hub::Hub;

/// How often clients that went away are forgotten, and markers at a log's end passed.
const ROUND: Duration = Duration::from_secs(1);

/// Records that are given to the clients at once: well below [`FeedConfig::client_buffer`].
///
/// [`FeedConfig::client_buffer`]: super::FeedConfig::client_buffer
const PIECE: usize = 64;

/// Reads the hub's topics from their end until `stop`. Brokers that are away are waited for.
pub(super) async fn follow(
    hub: Arc<Hub>,
    client: kafka::Client,
    stop: CancellationToken,
) -> Result<(), kafka::ConfigError> {
    let mut reader = client
        .reader()
        .topics(hub.topics())
        .from(Start::Latest)
        .build()?;
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        () = reader.positioned() => {}
    }
    identify(&hub, &reader);
    hub.begin(reader.positions());
    let mut round = tokio::time::interval(ROUND);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = reader.next_batch() => match event {
                ReaderEvent::Records(records) => publish(&hub, records).await,
                ReaderEvent::Reset { partition, asked, resumed } => {
                    identify(&hub, &reader);
                    hub.begin([(partition.clone(), resumed)]);
                    hub.tell_everyone(|position| reset(position, &partition, asked, resumed));
                }
            },
            _ = round.tick() => {
                hub.sweep();
                identify(&hub, &reader);
                hub.pass(reader.positions());
            }
        }
    }
}

/// Tells the hub which topics are read, by their ids.
fn identify(hub: &Hub, reader: &Reader) {
    for topic in hub.topics() {
        if let Some(id) = reader.topic_id(topic) {
            hub.identify(topic, id);
        }
    }
}

/// A fetch may hold more than waits for a client at most: in pieces, with time to send each.
async fn publish(hub: &Hub, mut records: Vec<ConsumerRecord>) {
    while records.len() > PIECE {
        let rest = records.split_off(PIECE);
        hub.publish(records);
        records = rest;
        tokio::task::yield_now().await;
    }
    hub.publish(records);
}
