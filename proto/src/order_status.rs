use std::borrow::Cow;

use crate::error::DecodeError;
use crate::fields::{Fields, Names, either, same};
use crate::spelling::Spelling;
use crate::writer::ObjectWriter;

/// A step of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    Created,
    Confirmed,
    Rejected,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Created => "CREATED",
            Status::Confirmed => "CONFIRMED",
            Status::Rejected => "REJECTED",
        }
    }

    /// The reverse of [`Status::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Status::Created, Status::Confirmed, Status::Rejected]
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    /// The outcome that this step is, if it ends the order.
    pub const fn outcome(self) -> Option<FinalStatus> {
        match self {
            Status::Created => None,
            Status::Confirmed => Some(FinalStatus::Confirmed),
            Status::Rejected => Some(FinalStatus::Rejected),
        }
    }
}

/// How an order ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinalStatus {
    Confirmed,
    Rejected,
}

impl FinalStatus {
    pub const fn as_str(self) -> &'static str {
        self.status().as_str()
    }

    pub const fn status(self) -> Status {
        match self {
            FinalStatus::Confirmed => Status::Confirmed,
            FinalStatus::Rejected => Status::Rejected,
        }
    }

    /// The reverse of [`FinalStatus::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Status::parse(text)?.outcome()
    }
}

/// A step of an order, on `order_status_topic`.
///
/// `{"orderId":"…","status":"CREATED|CONFIRMED|REJECTED","reason":"…"?,"updatedAt":"…"}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderStatusEvent<'a> {
    pub order_id: Cow<'a, str>,
    pub status: Status,
    /// Why the order was rejected.
    pub reason: Option<Cow<'a, str>>,
    /// RFC 3339. Ours always have it; a reader can do with the record's own time.
    pub updated_at: Option<Cow<'a, str>>,
}

const ORDER_ID: usize = 0;
const STATUS: usize = 1;
const REASON: usize = 2;
const UPDATED_AT: usize = 3;
static NAMES: [Names; 4] = [
    either("orderId", "order_id"),
    same("status"),
    same("reason"),
    either("updatedAt", "updated_at"),
];

impl<'a> OrderStatusEvent<'a> {
    /// Reads a record's value, in either spelling.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::read(value, &NAMES, Spelling::Camel)?;
        let order_id = fields.order_id(ORDER_ID);
        let order_id = fields.required(ORDER_ID, order_id);
        let text = fields.text(STATUS);
        let status = fields.required(STATUS, text).and_then(|text| {
            let status = Status::parse(&text);
            if status.is_none() {
                fields.wrong(STATUS, "must be CREATED, CONFIRMED or REJECTED");
            }
            status
        });
        let reason = fields.text(REASON);
        let updated_at = fields.time(UPDATED_AT);
        match (order_id, status) {
            (Some(order_id), Some(status)) if fields.is_fine() => Ok(Self {
                order_id,
                status,
                reason,
                updated_at,
            }),
            _ => Err(fields.into_error()),
        }
    }

    /// Appends the JSON to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        ObjectWriter::new(out)
            .text("orderId", &self.order_id)
            .text("status", self.status.as_str())
            .text_if("reason", self.reason.as_deref())
            .text_if("updatedAt", self.updated_at.as_deref())
            .end();
    }
}
