use std::borrow::Cow;

use crate::error::DecodeError;
use crate::fields::{Fields, Names, either, same};
use crate::order_status::{FinalStatus, StatusWord};
use crate::spelling::Spelling;
use crate::writer::ObjectWriter;

/// The final result of an order, on `notifications`, or a step on the way to it.
///
/// `{"order_id":"12345","status":"CONFIRMED","user_id":"…"?,"reason":"…"?}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification<'a> {
    pub order_id: Cow<'a, str>,
    /// Ours are final; other systems tell of steps here, too.
    pub status: StatusWord<'a>,
    pub user_id: Option<Cow<'a, str>>,
    /// Why the order was rejected.
    pub reason: Option<Cow<'a, str>>,
}

const ORDER_ID: usize = 0;
const STATUS: usize = 1;
const USER_ID: usize = 2;
const REASON: usize = 3;
static NAMES: [Names; 4] = [
    either("orderId", "order_id"),
    same("status"),
    either("userId", "user_id"),
    same("reason"),
];

impl<'a> Notification<'a> {
    /// How the order ended, if this says so.
    pub fn outcome(&self) -> Option<FinalStatus> {
        self.status.outcome()
    }

    /// Reads a record's value, in either spelling.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::read(value, &NAMES, Spelling::Snake)?;
        let order_id = fields.order_id(ORDER_ID);
        let order_id = fields.required(ORDER_ID, order_id);
        let word = fields.word(STATUS);
        let status = fields.required(STATUS, word).map(StatusWord::of);
        let user_id = fields.id(USER_ID);
        let reason = fields.remark(REASON);
        match (order_id, status) {
            (Some(order_id), Some(status)) if fields.is_fine() => Ok(Self {
                order_id,
                status,
                user_id,
                reason,
            }),
            _ => Err(fields.into_error()),
        }
    }

    /// Appends the JSON to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        ObjectWriter::new(out)
            .text("order_id", &self.order_id)
            .text("status", self.status.as_str())
            .text_if("user_id", self.user_id.as_deref())
            .text_if("reason", self.reason.as_deref())
            .end();
    }
}
