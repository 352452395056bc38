use kafka::{ConsumerRecord, Handler, Lane, Outcome};
use proto::dead_letter::is_for_another_group;
use proto::{Aggregate, AggregateData, DecodeError, ReadAggregate, ReceivedHeaders, identity};
use serde::Serialize;
use service::db::{WriteError, storable_key};
use service::kafka_glue::PassedOver;
use service::metrics::Metrics;

use super::figures::{BookFigures, Generated, Overview, PopularBook, SystemFigures};
use super::store::AnalyticsStore;
use super::write::{StoredAggregate, StoredFigures, SystemType};

/// Writes the aggregates that its group reads into the store.
pub(crate) struct AnalyticsHandler {
    store: AnalyticsStore,
    group: String,
    passed_over: PassedOver,
}

impl AnalyticsHandler {
    pub(crate) fn new(store: AnalyticsStore, group: &str, metrics: &Metrics) -> Self {
        Self {
            store,
            group: group.to_owned(),
            passed_over: PassedOver::new(metrics, "aggregates", "Aggregates"),
        }
    }
}

impl Handler for AnalyticsHandler {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        if is_for_another_group(&self.group, |name| record.headers.get(name)) {
            return Outcome::Done;
        }
        let aggregate = match stored(record, self.store.database().now()) {
            Ok(Ok(aggregate)) => aggregate,
            // A later version's.
            Ok(Err(Other(kind))) => {
                self.passed_over.note(record, &kind);
                return Outcome::Done;
            }
            Err(error) => return Outcome::Reject(error.to_string()),
        };
        match self.store.add(aggregate).await {
            Ok(()) => Outcome::Done,
            Err(error @ (WriteError::Unavailable(_) | WriteError::Closed)) => {
                Outcome::Unavailable(error.to_string())
            }
            Err(error @ WriteError::Refused(_)) => Outcome::Reject(error.to_string()),
        }
    }

    /// Which aggregate is the newest is not decided by the order in which they are written; one
    /// after another by their key, each would have a transaction of its own.
    fn lane(&self, _: &ConsumerRecord) -> Lane {
        Lane::Unordered
    }

    async fn probe(&self) -> bool {
        // It knows first when it is back.
        self.store.database().ready().await;
        self.store.database().answers().await
    }
}

/// The type of an aggregate that is not known here.
struct Other(String);

/// `now` is when it is stored, in milliseconds since 1970.
fn stored(
    record: &ConsumerRecord,
    now: i64,
) -> Result<Result<StoredAggregate, Other>, DecodeError> {
    let value = record.value.as_deref().ok_or(DecodeError::Null)?;
    let aggregate = match Aggregate::decode(value)? {
        ReadAggregate::Known(aggregate) => aggregate,
        ReadAggregate::Other(kind) => return Ok(Err(Other(kind))),
    };
    let headers = ReceivedHeaders::read(|name| record.headers.get(name));
    let generated = Generated {
        time: believable(aggregate.generated_at, now),
        partition: record.partition,
        offset: record.offset,
    };
    let system = |kind, data| StoredFigures::System(kind, SystemFigures { generated, data });
    let figures = match aggregate.data {
        AggregateData::BookStats { book_id, figures } => StoredFigures::Book(BookFigures {
            book_id,
            generated,
            figures: figures.into(),
        }),
        AggregateData::SystemOverview { books, figures } => {
            let figures = figures.into();
            system(SystemType::Overview, text(&Overview { books, figures }))
        }
        AggregateData::PopularBooks(books) => {
            let books: Vec<PopularBook> = books.into_iter().map(PopularBook::from).collect();
            system(SystemType::Popular, text(&books))
        }
    };
    let id = match headers.id {
        Some(id) => id.into(),
        None => {
            let id = record.topic_id.map(|id| id.to_string());
            let topic = id.as_deref().unwrap_or(&record.topic);
            identity::of_place(topic, record.partition, record.offset).into()
        }
    };
    Ok(Ok(StoredAggregate {
        event_id: storable_key(id),
        figures,
    }))
}

/// How far the clock of whoever makes the figures may be ahead, in milliseconds: a day.
const AHEAD: i64 = 24 * 60 * 60 * 1_000;

/// When the figures were made. A clock that was far ahead when they were must not keep those that are made later from
/// being newer: then they count as made when they were stored.
fn believable(generated_at: i64, now: i64) -> i64 {
    if generated_at > now.saturating_add(AHEAD) {
        tracing::warn!(
            "figures say that they were made at {}: they count as made now; look at the clock of whoever publishes them",
            proto::Rfc3339::from_millis(generated_at).as_str()
        );
        now
    } else {
        generated_at
    }
}

fn text<T: Serialize>(data: &T) -> String {
    serde_json::to_string(data).expect("numbers, and maps with texts as keys")
}
