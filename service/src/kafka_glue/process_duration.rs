use std::time::Instant;

use kafka::{ConsumerRecord, Handler, Lane, Outcome};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::metrics::Metrics;

/// Boundaries in seconds that OpenTelemetry's messaging conventions advise for
/// `messaging.process.duration`.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    messaging_system: &'static str,
    messaging_consumer_group_name: String,
    messaging_destination_name: String,
}

type Durations = Family<Labels, Histogram, fn() -> Histogram>;

/// `messaging_process_duration_seconds` by group and topic: how long handlers had a record.
#[derive(Clone, Debug)]
pub struct ProcessDurations {
    durations: Durations,
}

impl ProcessDurations {
    /// Registers the metric; once a service.
    pub fn new(metrics: &Metrics) -> Self {
        let durations: Durations = Family::new_with_constructor(|| Histogram::new(BUCKETS));
        metrics.register(
            "messaging_process_duration_seconds",
            "Time from a record's start in its handler to the handler's outcome",
            durations.clone(),
        );
        Self { durations }
    }

    /// `handler`, measured in what it does for `group` with records of `topics`.
    pub fn timed<'a, H: Handler>(
        &self,
        handler: H,
        group: &str,
        topics: impl IntoIterator<Item = &'a str>,
    ) -> Timed<H> {
        let histogram = |topic: &str| {
            self.durations.get_or_create_owned(&Labels {
                messaging_system: "kafka",
                messaging_consumer_group_name: group.to_owned(),
                messaging_destination_name: topic.to_owned(),
            })
        };
        Timed {
            handler,
            topics: topics
                .into_iter()
                .map(|topic| (topic.to_owned(), histogram(topic)))
                .collect(),
        }
    }
}

/// A handler whose calls are measured. Made by [`ProcessDurations::timed`].
#[derive(Debug)]
pub struct Timed<H> {
    handler: H,
    /// Few enough that a walk is cheaper than a lookup by labels.
    topics: Vec<(String, Histogram)>,
}

impl<H: Handler> Handler for Timed<H> {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        let started = Instant::now();
        let outcome = self.handler.handle(record).await;
        let topic = self.topics.iter().find(|(name, _)| **name == *record.topic);
        if let Some((_, histogram)) = topic {
            histogram.observe(started.elapsed().as_secs_f64());
        }
        outcome
    }

    fn lane(&self, record: &ConsumerRecord) -> Lane {
        self.handler.lane(record)
    }

    async fn probe(&self) -> bool {
        self.handler.probe().await
    }
}

#[cfg(test)]
mod tests {
    use kafka::Headers;

    use super::*;

    struct Rejecting;

    impl Handler for Rejecting {
        async fn handle(&self, _: &ConsumerRecord) -> Outcome {
            Outcome::Reject("no".to_owned())
        }

        fn lane(&self, _: &ConsumerRecord) -> Lane {
            Lane::Key(7)
        }

        async fn probe(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn a_measured_handler_does_the_same_and_is_counted_by_topic() {
        let metrics = Metrics::new();
        let timed = ProcessDurations::new(&metrics).timed(Rejecting, "g", ["a", "b"]);
        let record = ConsumerRecord {
            topic: "b".into(),
            topic_id: None,
            partition: 0,
            offset: 0,
            timestamp: 0,
            leader_epoch: -1,
            key: None,
            value: None,
            headers: Headers::default(),
            attempt: 1,
        };
        assert_eq!(
            timed.handle(&record).await,
            Outcome::Reject("no".to_owned())
        );
        assert_eq!(timed.lane(&record), Lane::Key(7));
        assert!(!timed.probe().await);
        let text = metrics.render();
        let count = |topic: &str| {
            format!(
                "messaging_process_duration_seconds_count{{messaging_system=\"kafka\",\
                 messaging_consumer_group_name=\"g\",messaging_destination_name=\"{topic}\"}}"
            )
        };
        assert!(text.contains(&format!("{} 1\n", count("b"))), "{text}");
        assert!(text.contains(&format!("{} 0\n", count("a"))), "{text}");
    }
}
