use std::sync::Arc;
use std::time::Duration;

use kafka::{OutgoingRecord, ProduceError, Producer, TopicPartition};
use proto::{
    Aggregate, AggregateData, EventHeaders, Rfc3339, Traceparent, TypeIds, UuidText, identity,
};
use service::CancellationToken;
use service::health::HealthPart;
use tokio::time::MissedTickBehavior;

use super::keeper::Keeper;
use super::metrics::AnalyticsMetrics;
use super::store::Store;
use super::totals::ChangedBook;
use crate::events::SOURCE;

/// Says every interval what the stored figures of all instances come to; one instance at a time, the owner of
/// partition 0 of the views.
pub(crate) struct Publisher {
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) store: Store,
    pub(crate) producer: Producer,
    /// Where aggregates go.
    pub(crate) topic: String,
    /// Whose owner publishes.
    pub(crate) place: TopicPartition,
    pub(crate) interval: Duration,
    /// Books in POPULAR_BOOKS.
    pub(crate) top: i64,
    pub(crate) type_ids: TypeIds,
    pub(crate) metrics: AnalyticsMetrics,
}

/// Why a round did not publish everything. The next one does.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishError {
    #[error("the figures cannot be read or marked: {0}")]
    Database(#[from] sql::Error),
    #[error("{kind} is not published to {topic}: {error}")]
    Kafka {
        kind: &'static str,
        topic: String,
        error: ProduceError,
    },
}

impl Publisher {
    /// Until `stop`. A failure costs nothing but time.
    pub(crate) async fn run(self, health: HealthPart, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.rounds(health) => {}
        }
    }

    async fn rounds(&self, health: HealthPart) {
        let mut interval = tokio::time::interval(self.interval);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once.
        interval.tick().await;
        health.up();
        loop {
            interval.tick().await;
            match self.publish().await {
                Ok(()) => {
                    health.up();
                }
                Err(error) => {
                    tracing::warn!("analytics: {error}; tried again in the next interval");
                    health.down(error.to_string());
                }
            }
        }
    }

    /// One round.
    pub(super) async fn publish(&self) -> Result<(), PublishError> {
        let Some(epoch) = self.keeper.epoch(&self.place) else {
            return Ok(());
        };
        // The time is from before the reading and the claim is asked for after it: so of two aggregates the one with
        // the later time is also the one that was read later, whoever published it.
        let Some(time) = self.store.next_time(&self.place, epoch).await? else {
            return Ok(());
        };
        let mut after = 0;
        loop {
            let books = self.store.changed(after).await?;
            let Some(last) = books.last() else {
                break;
            };
            after = last.book_id;
            if !self.publish_books(books, epoch, time).await? {
                return Ok(());
            }
        }
        let whole = vec![
            self.store.overview().await?,
            self.store.popular(self.top).await?,
        ];
        if self.store.holds(&self.place, epoch).await? {
            self.send(whole, time).await?;
        }
        Ok(())
    }

    /// False: another instance has taken over.
    async fn publish_books(
        &self,
        books: Vec<ChangedBook>,
        epoch: i64,
        time: i64,
    ) -> Result<bool, PublishError> {
        if !self.store.holds(&self.place, epoch).await? {
            return Ok(false);
        }
        let mut lines = Vec::new();
        let mut data = Vec::with_capacity(books.len());
        for book in books {
            lines.extend(book.lines);
            data.push(AggregateData::BookStats {
                book_id: book.book_id,
                figures: book.figures,
            });
        }
        self.send(data, time).await?;
        self.store.published(lines).await?;
        Ok(true)
    }

    /// Sends all and waits for the acknowledgements.
    async fn send(&self, data: Vec<AggregateData>, time: i64) -> Result<(), PublishError> {
        let mut deliveries = Vec::with_capacity(data.len());
        let mut body = Vec::new();
        let text = Rfc3339::from_millis(time);
        for data in data {
            let kind = data.aggregation_type();
            let event_type = data.event_type();
            let id = identity::aggregate(event_type, data.book_id(), time);
            let aggregate = Aggregate {
                generated_at: time,
                data,
            };
            body.clear();
            aggregate.write(&mut body);
            let headers = EventHeaders {
                id: &UuidText::new(id),
                event_type,
                source: SOURCE,
                time: &text,
                trace: &Traceparent::new(),
                type_id: self.type_ids.get(event_type),
            };
            let record = OutgoingRecord {
                topic: &self.topic,
                partition: None,
                key: Some(kind.as_bytes()),
                value: Some(&body),
                headers: &headers.list(),
                timestamp: None,
            };
            let failed = |error| self.failed(kind, error);
            deliveries.push((kind, self.producer.enqueue(&record).map_err(failed)?));
        }
        let mut failure = None;
        for (kind, delivery) in deliveries {
            match delivery.await {
                Ok(_) => {
                    self.metrics.published.inc();
                }
                Err(error) => failure = Some(self.failed(kind, error)),
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn failed(&self, kind: &'static str, error: ProduceError) -> PublishError {
        PublishError::Kafka {
            kind,
            topic: self.topic.clone(),
            error,
        }
    }
}
