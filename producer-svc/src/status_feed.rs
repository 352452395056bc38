//! `GET /api/orders/events` and `GET /api/orders/{orderId}/events`: statuses as they come, read
//! from the status topic itself by every instance.

use kafka::ConsumerRecord;
use proto::{OrderStatusEvent, Rfc3339};
use serde::Serialize;
use service::CancellationToken;
use service::feed::{Feed, FeedEvent, FeedSource, SeenRecord, Since};
use service::http::{EventFrame, Problem, Request, Response, Router, StatusCode};

use crate::callers::Callers;
use crate::view::{OrderEvent, OrderEvents, Orders, asked_id};

/// The name of the events.
const STATUS: &str = "status";

#[derive(Clone)]
struct Streams {
    feed: Feed,
    orders: Orders,
    callers: Callers,
    stop: CancellationToken,
}

pub(crate) fn routes(
    feed: &Feed,
    orders: &Orders,
    callers: &Callers,
    stop: &CancellationToken,
) -> Router {
    let streams = Streams {
        feed: feed.clone(),
        orders: orders.clone(),
        callers: callers.clone(),
        stop: stop.clone(),
    };
    Router::new()
        .get("/api/orders/events", streams.clone(), all)
        .taking(&["orderId"])
        .get("/api/orders/{orderId}/events", streams, of_one)
}

/// Every status, from now on or from `Last-Event-ID` on; with `?orderId=`, one order's.
async fn all(streams: Streams, request: Request) -> Result<Response, Problem> {
    if request.has_query("orderId") {
        return of_one(streams, request).await;
    }
    if streams.callers.of(&request)?.user().is_some() {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "these are the orders of all users; follow /api/orders/{orderId}/events of one of yours",
        ));
    }
    let since = match request.header_named("last-event-id") {
        Some(id) => Since::Event(streams.feed.position(id)?),
        None => Since::Now,
    };
    Ok(streams.feed.stream(None, Vec::new(), since, &streams.stop))
}

/// One order's: what the view has of it first, then what comes. With `Last-Event-ID`, from there.
async fn of_one(streams: Streams, request: Request) -> Result<Response, Problem> {
    let caller = streams.callers.of(&request)?;
    let id = asked_id(&request)?;
    if caller.user().is_some() {
        // Whose it is, the order itself says, which the view has to have seen.
        streams.orders.shown_to(&caller, &id).await?;
    }
    if let Some(last) = request.header_named("last-event-id") {
        let since = Since::Event(streams.feed.position(last)?);
        return Ok(streams
            .feed
            .stream(Some(id), Vec::new(), since, &streams.stop));
    }
    // Without its database the stream is still worth having.
    let history = streams
        .orders
        .store
        .events_of(&id)
        .await
        .unwrap_or_else(|error| {
            tracing::warn!("order view: {error}; the stream begins without history");
            OrderEvents::default()
        });
    let mut history = history.events;
    history.sort_by_key(|event| (event.time, event.offset));
    let first = history
        .iter()
        .map(|event| EventFrame::new(None, Some(STATUS), &of_event(event)))
        .collect();
    let seen = history
        .into_iter()
        .map(|event| SeenRecord {
            topic: event.topic,
            topic_id: event.topic_id,
            partition: event.partition,
            offset: event.offset,
        })
        .collect();
    Ok(streams
        .feed
        .stream(Some(id), first, Since::Recent { seen }, &streams.stop))
}

/// Turns records of the status topic into events.
pub(crate) struct StatusSource;

impl FeedSource for StatusSource {
    fn event(&self, record: &ConsumerRecord) -> Option<FeedEvent> {
        let status = OrderStatusEvent::decode(record.value.as_deref()?).ok()?;
        let time = Rfc3339::from_millis(record.timestamp);
        let data = StatusData {
            order_id: &status.order_id,
            status: status.status.as_str(),
            reason: status.reason.as_deref(),
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
            time: time.as_str(),
        };
        Some(FeedEvent {
            name: STATUS,
            data: data.json(),
            key: Some(status.order_id.into_owned()),
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusData<'a> {
    order_id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    topic: &'a str,
    partition: i32,
    offset: i64,
    time: &'a str,
}

impl StatusData<'_> {
    fn json(&self) -> String {
        serde_json::to_string(self).expect("plain fields serialise")
    }
}

fn of_event(event: &OrderEvent) -> String {
    let time = Rfc3339::from_millis(event.time);
    StatusData {
        order_id: &event.order_id,
        status: event.status.as_str(),
        reason: event.reason.as_deref(),
        topic: &event.topic,
        partition: event.partition,
        offset: event.offset,
        time: time.as_str(),
    }
    .json()
}
