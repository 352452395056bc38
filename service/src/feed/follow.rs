use std::sync::Arc;
use std::time::Duration;

use kafka::{ReaderEvent, Start};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::catch_up::reset;
use super::hub::Hub;

/// How often clients that went away are forgotten, and markers at a log's end passed.
const ROUND: Duration = Duration::from_secs(1);

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
    hub.begin(reader.positions());
    let mut round = tokio::time::interval(ROUND);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = reader.next_batch() => match event {
                ReaderEvent::Records(records) => hub.publish(records),
                ReaderEvent::Reset { partition, asked, resumed } => {
                    hub.begin([(partition.clone(), resumed)]);
                    hub.tell_everyone(|position| reset(position, &partition, asked, resumed));
                }
            },
            _ = round.tick() => {
                hub.sweep();
                hub.pass(reader.positions());
            }
        }
    }
}
