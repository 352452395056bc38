//! What fuzzing feeds: records and requests as others write them. A panic is a finding, and so is
//! an event that is not read back as it was written. `fuzz/` runs it; `cargo test` runs its
//! corpus, and mutations of it.

use crate::dead_letter::{self, Place};
use crate::headers::ReceivedHeaders;
use crate::{
    Aggregate, Amounts, BookEvent, BookEventKind, BookEventRequest, CartEvent, CartItemChange,
    EventType, NewCartItem, Notification, Order, OrderRequest, OrderStatusEvent, ReadAggregate,
    RegistrationRequest, Rfc3339, Spelling, Traceparent, UserEvent, order_id,
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
        5 => user(data),
        6 => cart(data),
        7 => requests_without_an_order(data),
        9..=13 => book(data, BookEventKind::ALL[usize::from(kind >> 1) - 9]),
        14 => aggregate(data),
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

fn user(data: &[u8]) {
    if let Ok(UserEvent::Created(created)) = UserEvent::decode(data, None) {
        assert!(created.user_id > 0);
        let mut written = Vec::new();
        created.write(&mut written);
        let again = UserEvent::decode(&written, None);
        assert_eq!(again, Ok(UserEvent::Created(created.clone())));
    }
}

fn cart(data: &[u8]) {
    if let Ok(event) = CartEvent::decode(data) {
        let mut written = Vec::new();
        event.write(&mut written);
        assert_eq!(CartEvent::decode(&written).as_ref(), Ok(&event));
    }
}

fn book(data: &[u8], kind: BookEventKind) {
    for amounts in [Amounts::Minor, Amounts::Major] {
        if let Ok(event) = BookEvent::decode(data, kind, amounts) {
            assert!(event.user_id.is_some() || !kind.is_keyed_by_user());
            let mut written = Vec::new();
            event.write(&mut written);
            let again = BookEvent::decode(&written, kind, Amounts::Minor);
            assert_eq!(again.as_ref(), Ok(&event));
        }
    }
    if let Ok(request) = BookEventRequest::decode(data, kind) {
        let time = Rfc3339::from_millis(0);
        let event = request.into_event(1, "e".into(), time.as_str().into());
        let mut written = Vec::new();
        event.write(&mut written);
        let again = BookEvent::decode(&written, kind, Amounts::Minor);
        assert_eq!(again.as_ref(), Ok(&event));
    }
}

fn aggregate(data: &[u8]) {
    let Ok(ReadAggregate::Known(mut aggregate)) = Aggregate::decode(data) else {
        return;
    };
    let mut written = Vec::new();
    aggregate.write(&mut written);
    let range = -62_167_219_200_000..=253_402_300_799_999;
    aggregate.generated_at = aggregate.generated_at.clamp(*range.start(), *range.end());
    assert_eq!(
        Aggregate::decode(&written),
        Ok(ReadAggregate::Known(aggregate))
    );
}

fn requests_without_an_order(data: &[u8]) {
    if let Ok(request) = RegistrationRequest::decode(data) {
        assert!(request.email.contains('@') && request.email.trim() == request.email);
    }
    if let Ok(item) = NewCartItem::decode(data) {
        assert!(item.quantity > 0 && item.price >= 0);
        let change = CartItemChange::decode(data).expect("an item says what may be changed");
        assert_eq!(change.product, Some(item.product));
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
    if let Some(kind) = received.event_type.and_then(EventType::parse) {
        assert_eq!(Some(kind.as_str()), received.event_type);
    }
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
