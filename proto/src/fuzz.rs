//! What fuzzing feeds: records and requests as others write them. A panic is a finding, and so is
//! an event that is not read back as it was written. `fuzz/` runs it; `cargo test` runs its
//! corpus, and mutations of it.

use crate::dead_letter::{self, Place};
use crate::headers::ReceivedHeaders;
use crate::identity::{self, Step};
use crate::{
    Notification, Order, OrderRequest, OrderStatusEvent, Rfc3339, Spelling, Status, Traceparent,
    order_id,
};

/// The first byte says what the rest is: a record's value, a request's body, or headers.
pub fn events(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    let spelling = match kind & 1 {
        0 => Spelling::Camel,
        _ => Spelling::Snake,
    };
    match kind >> 1 {
        0 => order(data, spelling),
        1 => status(data),
        2 => notification(data),
        3 => request(data, spelling),
        _ => headers(data),
    }
}

fn order(data: &[u8], spelling: Spelling) {
    // Orders are told apart by their id before they are read.
    let peeked = order_id::peek(data);
    let Ok(order) = Order::decode(data, spelling) else {
        return;
    };
    assert_eq!(peeked.as_deref(), Some(&*order.order_id));
    for spelling in [Spelling::Camel, Spelling::Snake] {
        let mut written = Vec::new();
        order.write(spelling, &mut written);
        let mut expected = order.clone();
        if spelling == Spelling::Snake {
            // It has no such field.
            expected.created_at = None;
        }
        assert_eq!(Order::decode(&written, spelling), Ok(expected));
    }
}

fn status(data: &[u8]) {
    if let Ok(status) = OrderStatusEvent::decode(data) {
        let mut written = Vec::new();
        status.write(&mut written);
        assert_eq!(OrderStatusEvent::decode(&written).as_ref(), Ok(&status));
    }
}

fn notification(data: &[u8]) {
    if let Ok(notification) = Notification::decode(data) {
        let mut written = Vec::new();
        notification.write(&mut written);
        assert_eq!(Notification::decode(&written).as_ref(), Ok(&notification));
    }
}

fn request(data: &[u8], spelling: Spelling) {
    if let Ok(request) = OrderRequest::decode(data, spelling) {
        if let Some(id) = &request.order_id {
            assert_eq!(order_id::check(id), Ok(()));
        }
        order_id::idempotent("/orders", request.user_id.as_deref(), "key");
    }
}

/// Header values, a line each, in the order in which they are named here.
fn headers(data: &[u8]) {
    let names = [
        crate::headers::CE_ID,
        crate::headers::CE_TYPE,
        crate::headers::TRACEPARENT,
        dead_letter::REPLAY_OF,
        dead_letter::CONSUMER_GROUP,
        dead_letter::TIME,
    ];
    let values: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let lookup = |name: &str| {
        let at = names.iter().position(|known| *known == name)?;
        values.get(at).copied()
    };
    let received = ReceivedHeaders::read(lookup);
    identity::of_step(received.id, "12345", Step::Status(Status::Created));
    let trace = Traceparent::continued(lookup(crate::headers::TRACEPARENT));
    assert_eq!(Traceparent::parse(trace.as_str().as_bytes()), Some(trace));
    dead_letter::is_for_another_group("g", lookup);
    if let Some(place) = lookup(dead_letter::REPLAY_OF)
        .and_then(|text| std::str::from_utf8(text).ok())
        .and_then(Place::parse)
    {
        assert_eq!(Place::parse(&place.to_string()), Some(place));
    }
    if let Some(time) = lookup(dead_letter::TIME).and_then(|text| text.first_chunk()) {
        Rfc3339::from_millis(i64::from_be_bytes(*time));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn events() {
        testkit::corpus::replay("events", super::events);
    }
}
