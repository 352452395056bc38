use std::borrow::Cow;

use crate::error::DecodeError;
use crate::fields::{Fields, Names, either, same};
use crate::spelling::Spelling;
use crate::writer::ObjectWriter;

/// An order, on `order_topic` (OrderEvent, camelCase) and `orders` (snake_case).
///
/// `{"orderId":"…","product":"Laptop","quantity":1,"userId":"…"?,"createdAt":"RFC 3339"}`, or
/// `{"order_id":"12345","user_id":"user789","item":"laptop","quantity":2}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order<'a> {
    pub order_id: Cow<'a, str>,
    pub product: Cow<'a, str>,
    /// Whatever integer the sender wrote; what is allowed is for the processing to say.
    pub quantity: i64,
    pub user_id: Option<Cow<'a, str>>,
    /// RFC 3339; orders in snake_case have none, and what other systems write otherwise counts as none.
    pub created_at: Option<Cow<'a, str>>,
}

const ORDER_ID: usize = 0;
const PRODUCT: usize = 1;
const QUANTITY: usize = 2;
const USER_ID: usize = 3;
const CREATED_AT: usize = 4;
static NAMES: [Names; 5] = [
    either("orderId", "order_id"),
    either("product", "item"),
    same("quantity"),
    either("userId", "user_id"),
    either("createdAt", "created_at"),
];

impl<'a> Order<'a> {
    /// Reads a record's value, in either spelling. `missing_as` is the spelling of its topic, in
    /// which missing fields are named.
    pub fn decode(value: &'a [u8], missing_as: Spelling) -> Result<Self, DecodeError> {
        let mut fields = Fields::read(value, &NAMES, missing_as)?;
        let order_id = fields.order_id(ORDER_ID);
        let order_id = fields.required(ORDER_ID, order_id);
        let product = fields.non_empty_text(PRODUCT);
        let product = fields.required(PRODUCT, product);
        let quantity = fields.whole(QUANTITY);
        let quantity = fields.required(QUANTITY, quantity);
        let user_id = fields.id(USER_ID);
        let created_at = fields.time(CREATED_AT);
        match (order_id, product, quantity) {
            (Some(order_id), Some(product), Some(quantity)) if fields.is_fine() => Ok(Self {
                order_id,
                product,
                quantity,
                user_id,
                created_at,
            }),
            _ => Err(fields.into_error()),
        }
    }

    /// Appends the JSON to `out`, with the fields that the topic of this spelling has.
    pub fn write(&self, spelling: Spelling, out: &mut Vec<u8>) {
        let mut object = ObjectWriter::new(out);
        match spelling {
            Spelling::Camel => object
                .text("orderId", &self.order_id)
                .text("product", &self.product)
                .integer("quantity", self.quantity)
                .text_if("userId", self.user_id.as_deref())
                .text_if("createdAt", self.created_at.as_deref()),
            Spelling::Snake => object
                .text("order_id", &self.order_id)
                .text_if("user_id", self.user_id.as_deref())
                .text("item", &self.product)
                .integer("quantity", self.quantity),
        }
        .end();
    }
}
