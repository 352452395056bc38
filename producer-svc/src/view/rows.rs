use kafka::{ConsumerRecord, TopicId};
use proto::{DecodeError, Order, OrderStatusEvent, Spelling};
use service::db::storable;
use sql::{Row, Type};

use super::order_state::{EventStatus, OrderContent, OrderEvent};

/// An order's record as an event.
pub(super) fn of_order(
    record: &ConsumerRecord,
    spelling: Spelling,
) -> Result<OrderEvent, DecodeError> {
    let order = Order::decode(value(record)?, spelling)?;
    Ok(OrderEvent {
        order_id: order.order_id.into_owned(),
        status: EventStatus::Accepted,
        reason: None,
        content: Some(OrderContent {
            product: storable(order.product),
            quantity: order.quantity,
            user_id: order.user_id.map(storable),
        }),
        ..at(record)
    })
}

/// A status record as an event.
pub(super) fn of_status(record: &ConsumerRecord) -> Result<OrderEvent, DecodeError> {
    let status = OrderStatusEvent::decode(value(record)?)?;
    Ok(OrderEvent {
        order_id: status.order_id.into_owned(),
        status: status.status.into(),
        reason: status.reason.map(storable),
        ..at(record)
    })
}

fn value(record: &ConsumerRecord) -> Result<&[u8], DecodeError> {
    record.value.as_deref().ok_or(DecodeError::Null)
}

fn at(record: &ConsumerRecord) -> OrderEvent {
    OrderEvent {
        topic: record.topic.as_ref().to_owned(),
        topic_id: record.topic_id,
        partition: record.partition,
        offset: record.offset,
        order_id: String::new(),
        status: EventStatus::Accepted,
        time: record.timestamp,
        reason: None,
        content: None,
    }
}

/// A topic as `order_events` has it: with its id, so that the records of one that was deleted and created again
/// have rows of their own. The primary key has no column for the id, because instances of an earlier version, which an
/// update leaves running for a while, insert by it; no topic's name has a `#`.
pub(super) fn stored_topic(event: &OrderEvent) -> String {
    match event.topic_id {
        Some(id) => format!("{}#{id}", event.topic),
        None => event.topic.clone(),
    }
}

/// Name and id of a stored topic.
fn parts(stored: String) -> (String, Option<TopicId>) {
    match stored.split_once('#') {
        Some((name, id)) => (name.to_owned(), id.parse().ok()),
        None => (stored, None),
    }
}

/// The columns that [`read`] expects, in their order.
pub(super) const COLUMNS: &str = "topic, partition_no, record_offset, order_id, status, event_ms, product, quantity, user_id, reason";

/// How many there are.
pub(super) const COLUMN_COUNT: usize = 10;

/// Their types, and that of `stored_ms`.
pub(super) const INSERTED: [Type; COLUMN_COUNT + 1] = {
    use Type::{Bigint, Text};
    [
        Text, Bigint, Bigint, Text, Text, Bigint, Text, Bigint, Text, Text, Bigint,
    ]
};

pub(super) fn read(row: &Row) -> Result<OrderEvent, sql::Error> {
    let status: String = row.get(4)?;
    let product: Option<String> = row.get(6)?;
    let quantity: Option<i64> = row.get(7)?;
    let user_id: Option<String> = row.get(8)?;
    let (topic, topic_id) = parts(row.get(0)?);
    Ok(OrderEvent {
        topic,
        topic_id,
        partition: row.get(1)?,
        offset: row.get(2)?,
        order_id: row.get(3)?,
        status: EventStatus::parse(status),
        time: row.get(5)?,
        reason: row.get(9)?,
        content: product
            .zip(quantity)
            .map(|(product, quantity)| OrderContent {
                product,
                quantity,
                user_id,
            }),
    })
}
