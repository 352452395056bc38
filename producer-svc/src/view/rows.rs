use kafka::ConsumerRecord;
use proto::{DecodeError, Order, OrderStatusEvent, Spelling};
use service::db::storable;
use sqlx::Row;
use sqlx::any::AnyRow;

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
        partition: record.partition,
        offset: record.offset,
        order_id: String::new(),
        status: EventStatus::Accepted,
        time: record.timestamp,
        reason: None,
        content: None,
    }
}

/// The columns that [`read`] expects, in their order.
pub(super) const COLUMNS: &str = "topic, partition_no, record_offset, order_id, status, event_ms, product, quantity, user_id, reason";

/// How many there are.
pub(super) const COLUMN_COUNT: usize = 10;

pub(super) fn read(row: &AnyRow) -> Result<OrderEvent, sqlx::Error> {
    let status: String = row.try_get(4)?;
    let product: Option<String> = row.try_get(6)?;
    let quantity: Option<i64> = row.try_get(7)?;
    let user_id: Option<String> = row.try_get(8)?;
    Ok(OrderEvent {
        topic: row.try_get(0)?,
        partition: i32::try_from(row.try_get::<i64, _>(1)?)
            .map_err(|error| sqlx::Error::Decode(error.into()))?,
        offset: row.try_get(2)?,
        order_id: row.try_get(3)?,
        status: EventStatus::parse(&status)
            .ok_or_else(|| sqlx::Error::Decode(format!("unknown status {status}").into()))?,
        time: row.try_get(5)?,
        reason: row.try_get(9)?,
        content: product
            .zip(quantity)
            .map(|(product, quantity)| OrderContent {
                product,
                quantity,
                user_id,
            }),
    })
}
