use std::time::Duration;

use kafka::Client;
use tokio_util::sync::CancellationToken;

use super::explained;
use crate::health::HealthPart;

/// Between two questions while Kafka answers, and while it does not.
const INTERVAL: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(500));

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks Kafka now and then whether it is there, and reports it, until `stop`.
pub async fn watch_kafka(client: Client, health: HealthPart, stop: CancellationToken) {
    let watching = async {
        // A refusal is news whenever it changes, even before Kafka ever answered.
        let mut refusal = None;
        loop {
            let pause = match tokio::time::timeout(PATIENCE, client.ready()).await {
                Ok(Ok(())) => {
                    if health.up() {
                        tracing::info!("Kafka answers");
                    }
                    refusal = None;
                    INTERVAL.0
                }
                Ok(Err(error)) => {
                    let problem = explained(&error);
                    if error.refusal().is_some() && refusal.as_ref() != Some(&problem) {
                        tracing::error!("Kafka: {problem}; trying again");
                        health.down(&problem);
                        refusal = Some(problem);
                    } else {
                        down(&health, &problem);
                    }
                    INTERVAL.1
                }
                Err(_) => {
                    down(&health, "Kafka does not answer in time");
                    INTERVAL.1
                }
            };
            tokio::time::sleep(pause).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = watching => {}
    }
}

fn down(health: &HealthPart, problem: &str) {
    if health.is_up() {
        tracing::warn!("Kafka: {problem}");
    }
    health.down(problem);
}
