//! `POST /api/books/{bookId}/views|downloads|purchases|reviews|ratings`: what happened to a book is
//! checked, written to the topic of its kind, and answered once the broker has acknowledged it. No
//! database is on the way.

use std::borrow::Cow;
use std::sync::Arc;

use kafka::{OutgoingRecord, ProduceError, Producer, RecordMetadata};
use proto::{
    BookEvent, BookEventKind, BookEventRequest, EventHeaders, Rfc3339, Traceparent, order_id,
};
use serde::Serialize;
use service::auth::Gate;
use service::health::Health;
use service::http::{Problem, Request, Response, Router, StatusCode, json, refusal};
use service::metrics::Metrics;

use crate::acceptance::{Acceptance, Outcomes};
use crate::taken::{IdOrigin, Taken};
use crate::{Config, SOURCE};

/// One of the five ways in: the kind of event, and the topic it is written to.
struct BookIntake {
    kind: BookEventKind,
    topic: String,
    type_id: Option<String>,
    producer: Producer,
    gate: Gate,
    outcomes: Outcomes,
    acceptance: Acceptance,
    taken: Taken,
}

/// All five, sharing a producer and what is counted.
///
/// The producer's delivery timeout must be `REQUEST_TIMEOUT`, as for orders.
pub(crate) fn routes(
    config: &Config,
    producer: &Producer,
    gate: &Gate,
    taken: &Taken,
    metrics: &Metrics,
    health: &Health,
) -> Router {
    let help = "Events of books asked for over HTTP, by outcome";
    let outcomes = Outcomes::new(metrics, "book_events", help);
    let intake = |kind: BookEventKind| {
        Arc::new(BookIntake {
            kind,
            topic: config.book_topic(kind).to_string(),
            type_id: config.type_ids.get(kind.event_type()).map(str::to_owned),
            producer: producer.clone(),
            gate: gate.clone(),
            outcomes: outcomes.clone(),
            acceptance: Acceptance::new("event", config.book_topic(kind).as_str(), health),
            taken: taken.clone(),
        })
    };
    BookEventKind::ALL
        .into_iter()
        .fold(Router::new(), |routes, kind| {
            routes.post(path(kind), intake(kind), post)
        })
}

/// The same paths on an instance that takes no events of books.
pub(crate) fn routes_without_books() -> Router {
    let refuse = async |(), _: Request| {
        Err(Problem::not_found(
            "this instance takes no events of books (BOOKS=false); ask one that does",
        ))
    };
    BookEventKind::ALL
        .into_iter()
        .fold(Router::new(), |routes, kind| {
            routes.post(path(kind), (), refuse)
        })
}

fn path(kind: BookEventKind) -> &'static str {
    match kind {
        BookEventKind::Viewed => "/api/books/{bookId}/views",
        BookEventKind::Downloaded => "/api/books/{bookId}/downloads",
        BookEventKind::Purchased => "/api/books/{bookId}/purchases",
        BookEventKind::Reviewed => "/api/books/{bookId}/reviews",
        BookEventKind::Rated => "/api/books/{bookId}/ratings",
    }
}

async fn post(intake: Arc<BookIntake>, mut request: Request) -> Result<Response, Problem> {
    let result = intake.take(&mut request).await;
    intake.outcomes.count(&result);
    result
}

impl BookIntake {
    async fn take(&self, request: &mut Request) -> Result<Response, Problem> {
        let book_id = request.id("bookId")?;
        let caller = self.gate.caller(request)?;
        // A view needs no body.
        let body = request.json_or_nothing().await?;
        let mut asked = BookEventRequest::decode(&body, self.kind)
            .map_err(|error| refusal(error, "event of a book"))?;
        if let Some(user) = caller.user() {
            caller.acting_for(asked.user_id.as_deref())?;
            asked.user_id = Some(user.into());
        }
        let (event_id, origin) = self.event_id(&asked, book_id, request)?;
        // Statistics know an event by its id within its kind.
        let content = (book_id, &asked.user_id, &asked.detail);
        let claim = self.taken.claim(
            origin,
            (path(self.kind), &*event_id),
            content,
            "event",
            "eventId",
        )?;
        let now = Rfc3339::now();
        let event = asked.into_event(book_id, Cow::Borrowed(&event_id), now.as_str().into());
        match self.send(&event, &event_id, &now, &request.trace()).await {
            Ok(place) => {
                claim.succeeded();
                self.acceptance.accepted();
                Ok(accepted(&event_id, &place))
            }
            Err(error) => {
                claim.failed(&error);
                Err(self.acceptance.not_accepted(&error, "eventId", &event_id))
            }
        }
    }

    /// Given in the body, or derived from the `Idempotency-Key`, or new.
    fn event_id(
        &self,
        asked: &BookEventRequest<'_>,
        book_id: i64,
        request: &Request,
    ) -> Result<(String, IdOrigin), Problem> {
        if let Some(id) = &asked.event_id {
            return Ok((id.clone().into_owned(), IdOrigin::Given));
        }
        let (id, origin) = match request.idempotency_key()? {
            None => (order_id::new(), IdOrigin::New),
            Some(key) => {
                let route = format!("{} {book_id}", path(self.kind));
                let id = order_id::idempotent(&route, asked.user_id.as_deref(), key);
                (id, IdOrigin::Key)
            }
        };
        Ok((id.as_str().to_owned(), origin))
    }

    /// Resolves when the broker has acknowledged, or the delivery timeout has passed.
    async fn send(
        &self,
        event: &BookEvent<'_>,
        id: &str,
        now: &Rfc3339,
        trace: &Traceparent,
    ) -> Result<RecordMetadata, ProduceError> {
        let mut value = Vec::with_capacity(256);
        event.write(&mut value);
        let key: Cow<'_, str> = match &event.user_id {
            Some(user) if self.kind.is_keyed_by_user() => Cow::Borrowed(user),
            _ => event.book_id.to_string().into(),
        };
        let delivery = self.producer.enqueue(&OutgoingRecord {
            topic: &self.topic,
            partition: None,
            key: Some(key.as_bytes()),
            value: Some(&value),
            headers: &EventHeaders {
                id,
                event_type: self.kind.event_type(),
                source: SOURCE,
                time: now,
                trace,
                type_id: self.type_id.as_deref(),
            }
            .list(),
            timestamp: None,
        })?;
        delivery.await
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt<'a> {
    event_id: &'a str,
    status: &'static str,
    topic: &'a str,
    partition: i32,
    /// None where the broker confirmed an earlier attempt without saying where it lies.
    offset: Option<i64>,
}

/// 202 with the event's id and where it lies.
fn accepted(event_id: &str, place: &RecordMetadata) -> Response {
    let receipt = Receipt {
        event_id,
        status: "ACCEPTED",
        topic: &place.topic,
        partition: place.partition,
        offset: Some(place.offset).filter(|offset| *offset >= 0),
    };
    json(StatusCode::ACCEPTED, &receipt)
}
