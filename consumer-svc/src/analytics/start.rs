use std::sync::Arc;
use std::time::Duration;

use kafka::{Client, DeadLetters, Producer, TopicPartition};
use proto::{BookEventKind, TypeIds};
use service::CancellationToken;
use service::config::Common;
use service::db::Database;
use service::health::Health;
use service::kafka_glue::{
    ConsumeError, ConsumerHealth, KafkaStats, ProcessDurations, consume, watch_consumer,
};
use service::metrics::Metrics;

use super::config::AnalyticsConfig;
use super::handler::AnalyticsHandler;
use super::keeper::{Keeper, Partitions, ROOM};
use super::metrics::AnalyticsMetrics;
use super::publisher::Publisher;
use super::store::Store;

/// How long the publisher's producer tries. What it gives up is published in the next round.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// The statistics at work: consumer, store, publisher.
pub(crate) struct Analytics {
    common: Common,
    config: AnalyticsConfig,
    client: Client,
    /// Sends dead letters.
    producer: Producer,
    database: Database,
    keeper: Arc<Keeper>,
    metrics: AnalyticsMetrics,
    durations: ProcessDurations,
    stats: KafkaStats,
    health: ConsumerHealth,
}

/// What the statistics are started with.
pub(crate) struct Parts<'a> {
    pub(crate) common: &'a Common,
    pub(crate) config: &'a AnalyticsConfig,
    pub(crate) client: &'a Client,
    /// Sends dead letters.
    pub(crate) producer: &'a Producer,
    pub(crate) database: &'a Database,
    pub(crate) health: &'a Health,
    pub(crate) metrics: &'a Metrics,
    pub(crate) durations: &'a ProcessDurations,
    pub(crate) stats: &'a KafkaStats,
    pub(crate) type_ids: &'a TypeIds,
}

/// Why the statistics cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnalyticsError {
    #[error(transparent)]
    Config(#[from] kafka::ConfigError),
    #[error(transparent)]
    Consume(#[from] ConsumeError),
}

impl Analytics {
    /// The statistics, and their publisher. Nothing runs yet.
    ///
    /// # Errors
    /// Settings that cannot work.
    pub(crate) fn new(parts: Parts<'_>) -> Result<(Self, Publisher), kafka::ConfigError> {
        let Parts { common, config, .. } = parts;
        let metrics = AnalyticsMetrics::new(parts.metrics);
        let store = Store {
            database: parts.database.clone(),
        };
        let kinds = config
            .topics
            .iter()
            .zip(BookEventKind::ALL)
            .map(|(topic, kind)| (topic.to_string(), kind))
            .collect();
        let keeper = Arc::new(Keeper::new(store.clone(), kinds, ROOM, metrics.clone()));
        let producer = common
            .kafka
            .producer(parts.client)
            .delivery_timeout(DELIVERY_TIMEOUT)
            .build()?;
        parts.stats.add_producer(&producer);
        let publisher = Publisher {
            keeper: keeper.clone(),
            store,
            producer,
            topic: config.aggregated_topic.to_string(),
            place: TopicPartition::new(config.topics[0].as_str(), 0),
            interval: config.interval,
            top: config.top,
            type_ids: parts.type_ids.clone(),
            metrics: metrics.clone(),
        };
        let analytics = Self {
            common: common.clone(),
            config: config.clone(),
            client: parts.client.clone(),
            producer: parts.producer.clone(),
            database: parts.database.clone(),
            keeper,
            metrics,
            durations: parts.durations.clone(),
            stats: parts.stats.clone(),
            // Orders are processed without statistics.
            health: ConsumerHealth {
                consumes: parts.health.optional("analytics"),
                unhindered: parts.health.optional("analytics, in part"),
            },
        };
        Ok((analytics, publisher))
    }

    /// Keeps the statistics until `stop`. A membership in which another instance turned out to own what this one took
    /// for its own is ended, and a new one begun.
    ///
    /// # Errors
    /// The consumer's.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<(), AnalyticsError> {
        tokio::select! {
            () = self.database.admitted() => {}
            () = stop.cancelled() => return Ok(()),
        }
        loop {
            self.keeper.begin();
            let ended = self.membership(&stop).await;
            if stop.is_cancelled() {
                return ended;
            }
            match ended {
                // What was cut off is read again.
                Ok(()) | Err(AnalyticsError::Consume(ConsumeError::CutOff(_))) => {}
                Err(error) => return Err(error),
            }
            tracing::warn!("analytics: joining the group anew");
        }
    }

    async fn membership(&self, stop: &CancellationToken) -> Result<(), AnalyticsError> {
        let group = &self.config.group;
        let topics: Vec<&str> = self
            .config
            .topics
            .iter()
            .map(|topic| topic.as_str())
            .collect();
        let handler = AnalyticsHandler {
            group: group.clone(),
            keeper: self.keeper.clone(),
            metrics: self.metrics.clone(),
            amounts: self.config.amounts,
        };
        let consumer = self
            .common
            .kafka
            .consumer(&self.client, group)
            .topics(&topics)
            .shutdown_drain(self.common.shutdown.drain())
            .dead_letters(DeadLetters::new(self.producer.clone()))
            .listener(Partitions(self.keeper.clone()))
            .build(self.durations.timed(handler, group, topics.iter().copied()))?;
        self.stats.add_consumer(consumer.stats());
        let watching = watch_consumer(
            consumer.stats(),
            self.health.clone(),
            CancellationToken::new(),
        );
        let ending = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.keeper.fenced() => {}
            }
        };
        let result = tokio::select! {
            // The keeper stores for as long as the consumer drains.
            result = consume(consumer, ending) => result,
            () = self.keeper.keep() => Ok(()),
            () = watching => Ok(()),
        };
        Ok(result?)
    }
}
