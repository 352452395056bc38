//! `GET /api/notifications/events`: notifications as they come, read from the topic itself by every
//! instance.

use kafka::ConsumerRecord;
use proto::{Notification, Rfc3339};
use serde::Serialize;
use service::CancellationToken;
use service::auth::Gate;
use service::feed::{Feed, FeedEvent, FeedSource, Since};
use service::http::{Problem, Request, Response, Router};

#[derive(Clone)]
struct Streams {
    feed: Feed,
    gate: Gate,
    stop: CancellationToken,
}

/// The route of `feed`'s events; streams end at `stop`.
pub fn routes(feed: &Feed, gate: &Gate, stop: &CancellationToken) -> Router {
    let streams = Streams {
        feed: feed.clone(),
        gate: gate.clone(),
        stop: stop.clone(),
    };
    Router::new()
        .get("/api/notifications/events", streams, follow)
        .taking(&["userId"])
}

/// From now on or from `Last-Event-ID` on; with `userId`, or a token that names a
/// user, of this user alone.
async fn follow(streams: Streams, request: Request) -> Result<Response, Problem> {
    let caller = streams.gate.caller(&request)?;
    let since = match request.header_named("last-event-id") {
        Some(id) => Since::Event(streams.feed.position(id)?),
        None => Since::Now,
    };
    let mut query = request.checked_query();
    let user = crate::routes::user(&mut query);
    query.finish()?;
    let user = caller.acting_for(user.as_deref())?.map(str::to_owned);
    Ok(streams.feed.stream(user, Vec::new(), since, &streams.stop))
}

/// Turns records of the notifications' topic into events.
#[derive(Debug, Clone, Copy)]
pub struct NotificationSource;

#[derive(Serialize)]
struct Data<'a> {
    order_id: &'a str,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    time: &'a str,
    topic: &'a str,
    partition: i32,
    offset: i64,
}

impl FeedSource for NotificationSource {
    fn event(&self, record: &ConsumerRecord) -> Option<FeedEvent> {
        let notification = Notification::decode(record.value.as_deref()?).ok()?;
        let data = Data {
            order_id: &notification.order_id,
            status: notification.status.as_str(),
            user_id: notification.user_id.as_deref(),
            reason: notification.reason.as_deref(),
            time: &Rfc3339::from_millis(record.timestamp),
            topic: &record.topic,
            partition: record.partition,
            offset: record.offset,
        };
        Some(FeedEvent {
            name: "notification",
            data: serde_json::to_string(&data).ok()?,
            key: notification.user_id.map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka::Headers;

    use super::*;

    fn record(value: &'static [u8]) -> ConsumerRecord {
        ConsumerRecord {
            topic: "notifications".into(),
            topic_id: None,
            partition: 1,
            offset: 7,
            timestamp: 1_700_000_000_123,
            leader_epoch: -1,
            key: None,
            value: Some(Bytes::from_static(value)),
            headers: Headers::default(),
            attempt: 1,
        }
    }

    #[test]
    fn an_event_says_what_where_and_when() {
        let record = record(br#"{"orderId":12345,"status":"REJECTED","userId":"u","reason":"no"}"#);
        let event = NotificationSource.event(&record).unwrap();
        assert_eq!(event.name, "notification");
        assert_eq!(event.key.as_deref(), Some("u"));
        assert_eq!(
            event.data,
            r#"{"order_id":"12345","status":"REJECTED","user_id":"u","reason":"no","time":"2023-11-14T22:13:20.123Z","topic":"notifications","partition":1,"offset":7}"#
        );
    }

    #[test]
    fn a_step_of_another_system_is_shown_as_it_is() {
        let record = record(br#"{"order_id":"1","status":"Processing"}"#);
        let event = NotificationSource.event(&record).unwrap();
        assert!(
            event.data.contains(r#""status":"Processing""#),
            "{}",
            event.data
        );
    }

    #[test]
    fn what_is_no_notification_is_no_event() {
        assert_eq!(NotificationSource.event(&record(b"{}")), None);
    }
}
