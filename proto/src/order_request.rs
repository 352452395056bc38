use std::borrow::Cow;

use crate::error::DecodeError;
use crate::fields::{Fields, Names, either, same};
use crate::order_id;
use crate::spelling::Spelling;

/// The largest quantity the intake takes: readers of the contract in Java hold it in 32 bits, and
/// an order that they cannot read is better refused than dead.
pub const MAX_QUANTITY: i64 = i32::MAX as i64;

/// An order as it is asked for over HTTP, in either spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRequest<'a> {
    /// None: the intake makes one.
    pub order_id: Option<Cow<'a, str>>,
    pub product: Cow<'a, str>,
    /// 1 to [`MAX_QUANTITY`].
    pub quantity: i64,
    pub user_id: Option<Cow<'a, str>>,
}

const ORDER_ID: usize = 0;
const PRODUCT: usize = 1;
const QUANTITY: usize = 2;
const USER_ID: usize = 3;
static NAMES: [Names; 4] = [
    either("orderId", "order_id"),
    either("product", "item"),
    same("quantity"),
    either("userId", "user_id"),
];

impl<'a> OrderRequest<'a> {
    /// Reads a request's body. [`DecodeError::Fields`] is the request's 422, with all wrong fields;
    /// any other error its 400. `missing_as` is the spelling of the route.
    pub fn decode(body: &'a [u8], missing_as: Spelling) -> Result<Self, DecodeError> {
        let mut fields = Fields::read(body, &NAMES, missing_as)?;
        let order_id = fields.order_id(ORDER_ID);
        if let Some(Err(wrong)) = order_id.as_deref().map(order_id::check_reachable) {
            fields.wrong(ORDER_ID, wrong.to_string());
        }
        let product = fields.non_empty_text(PRODUCT);
        let product = fields.required(PRODUCT, product);
        let quantity = fields.integer(QUANTITY);
        let quantity = fields.required(QUANTITY, quantity);
        match quantity {
            Some(..=0) => fields.wrong(QUANTITY, "must be at least 1"),
            Some(number) if number > MAX_QUANTITY => {
                fields.wrong(QUANTITY, format!("must be at most {MAX_QUANTITY}"));
            }
            _ => {}
        }
        // The same rule as for order ids: it becomes a key and a query parameter elsewhere.
        let user_id = fields.order_id(USER_ID);
        match (product, quantity) {
            (Some(product), Some(quantity)) if fields.is_fine() => Ok(Self {
                order_id,
                product,
                quantity,
                user_id,
            }),
            _ => Err(fields.into_error()),
        }
    }
}
