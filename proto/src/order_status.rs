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

    /// The reverse of [`Status::as_str`], in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Status::Created, Status::Confirmed, Status::Rejected]
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(text))
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

/// What a status is called: one of ours, or another system's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusWord<'a> {
    Known(Status),
    /// `PROCESSING`, `SHIPPED`: 1 to 128 printable characters, as they were written. Never final.
    Other(Cow<'a, str>),
}

impl<'a> StatusWord<'a> {
    /// Ours, in any case, or the word as it is.
    pub fn of(text: Cow<'a, str>) -> Self {
        match Status::parse(&text) {
            Some(status) => StatusWord::Known(status),
            None => StatusWord::Other(text),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            StatusWord::Known(status) => status.as_str(),
            StatusWord::Other(word) => word,
        }
    }

    /// The outcome that this step is, if it ends the order.
    pub fn outcome(&self) -> Option<FinalStatus> {
        match self {
            StatusWord::Known(status) => status.outcome(),
            StatusWord::Other(_) => None,
        }
    }
}

impl From<Status> for StatusWord<'_> {
    fn from(status: Status) -> Self {
        StatusWord::Known(status)
    }
}

impl PartialEq<Status> for StatusWord<'_> {
    fn eq(&self, status: &Status) -> bool {
        matches!(self, StatusWord::Known(known) if known == status)
    }
}

/// A step of an order, on `order_status_topic`.
///
/// `{"orderId":"…","status":"CREATED|CONFIRMED|REJECTED","reason":"…"?,"updatedAt":"…"}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderStatusEvent<'a> {
    pub order_id: Cow<'a, str>,
    pub status: StatusWord<'a>,
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
        let word = fields.word(STATUS);
        let status = fields.required(STATUS, word).map(StatusWord::of);
        let reason = fields.remark(REASON);
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
