//! The headers of every event: CloudEvents 1.0 in Kafka's binary mode, and the trace.

use crate::{EventType, Rfc3339, Traceparent};

/// A header as it lies in a record: a name, and a value that may be null.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

pub const CE_SPECVERSION: &str = "ce_specversion";
pub const CE_ID: &str = "ce_id";
pub const CE_TYPE: &str = "ce_type";
pub const CE_SOURCE: &str = "ce_source";
pub const CE_TIME: &str = "ce_time";
pub const CONTENT_TYPE: &str = "content-type";
pub const TRACEPARENT: &str = "traceparent";
/// Which class a Spring reader maps the value to.
pub const TYPE_ID: &str = "__TypeId__";

/// What an event of ours says in its headers; everything is borrowed.
#[derive(Debug, Clone, Copy)]
pub struct EventHeaders<'a> {
    /// `ce_id`: a repeat of the event has the same.
    pub id: &'a str,
    pub event_type: EventType,
    /// `ce_source`, a URI reference: `/` and the service's name.
    pub source: &'a str,
    /// When it happened.
    pub time: &'a Rfc3339,
    pub trace: &'a Traceparent,
    /// `__TypeId__`, from [`TypeIds`](crate::TypeIds).
    pub type_id: Option<&'a str>,
}

impl<'a> EventHeaders<'a> {
    /// The headers as the producer takes them.
    pub fn list(&self) -> HeaderList<'a> {
        let type_id = self.type_id.map(str::as_bytes);
        HeaderList {
            headers: [
                (CE_SPECVERSION.as_bytes(), Some(b"1.0")),
                (CE_ID.as_bytes(), Some(self.id.as_bytes())),
                (
                    CE_TYPE.as_bytes(),
                    Some(self.event_type.as_str().as_bytes()),
                ),
                (CE_SOURCE.as_bytes(), Some(self.source.as_bytes())),
                (CE_TIME.as_bytes(), Some(self.time.as_bytes())),
                (CONTENT_TYPE.as_bytes(), Some(b"application/json")),
                (TRACEPARENT.as_bytes(), Some(self.trace.as_bytes())),
                (TYPE_ID.as_bytes(), type_id),
            ],
            len: 7 + usize::from(type_id.is_some()),
        }
    }
}

/// The headers of one event, inline; a slice of [`Header`].
#[derive(Debug, Clone, Copy)]
pub struct HeaderList<'a> {
    headers: [Header<'a>; 8],
    len: usize,
}

impl<'a> std::ops::Deref for HeaderList<'a> {
    type Target = [Header<'a>];

    fn deref(&self) -> &[Header<'a>] {
        &self.headers[..self.len]
    }
}

/// What a reader wants of a record's headers. All of it may be missing: records without headers are
/// as welcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceivedHeaders<'a> {
    /// `ce_id`, if it is text and not empty.
    pub id: Option<&'a str>,
    /// `ce_type`, else Spring's `__TypeId__`, if it is text.
    pub event_type: Option<&'a str>,
    /// `traceparent`, if it is valid.
    pub trace: Option<Traceparent>,
}

impl<'a> ReceivedHeaders<'a> {
    /// `lookup` answers a header's value by its name; of repeated headers the last counts.
    pub fn read(lookup: impl Fn(&str) -> Option<&'a [u8]>) -> Self {
        let text = |name| std::str::from_utf8(lookup(name)?).ok();
        Self {
            id: text(CE_ID).filter(|id| !id.is_empty()),
            event_type: text(CE_TYPE).or_else(|| text(TYPE_ID)),
            trace: lookup(TRACEPARENT).and_then(Traceparent::parse),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(list: &HeaderList<'a>, name: &str) -> Option<&'a [u8]> {
        list.iter()
            .rev()
            .find(|(key, _)| *key == name.as_bytes())
            .and_then(|(_, value)| *value)
    }

    #[test]
    fn seven_headers_and_an_eighth_for_spring() {
        let time = Rfc3339::from_millis(1_700_000_000_123);
        let trace =
            Traceparent::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        let mut event = EventHeaders {
            id: "e-1",
            event_type: EventType::OrderStatusChanged,
            source: "/consumer-svc",
            time: &time,
            trace: &trace,
            type_id: None,
        };
        let text = |list: &HeaderList<'_>| {
            list.iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.unwrap_or(b"null"));
                    format!("{}={value}", String::from_utf8_lossy(name))
                })
                .collect::<Vec<_>>()
        };
        let seven = [
            "ce_specversion=1.0",
            "ce_id=e-1",
            "ce_type=OrderStatusChanged",
            "ce_source=/consumer-svc",
            "ce_time=2023-11-14T22:13:20.123Z",
            "content-type=application/json",
            "traceparent=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ];
        assert_eq!(text(&event.list()), seven);
        event.type_id = Some("com.shop.OrderStatusEvent");
        let list = event.list();
        assert_eq!(list.len(), 8);
        assert_eq!(text(&list)[..7], seven);
        assert_eq!(text(&list)[7], "__TypeId__=com.shop.OrderStatusEvent");

        let received = ReceivedHeaders::read(|name| find(&list, name));
        assert_eq!(received.id, Some("e-1"));
        assert_eq!(received.event_type, Some("OrderStatusChanged"));
        assert_eq!(received.trace, Some(trace));
    }

    #[test]
    fn foreign_headers_are_taken_for_none() {
        assert_eq!(ReceivedHeaders::read(|_| None), ReceivedHeaders::default());
        let odd = ReceivedHeaders::read(|name| match name {
            CE_ID => Some(b""),
            _ => Some(b"\xff\xfe"),
        });
        assert_eq!(odd, ReceivedHeaders::default());
    }
}
