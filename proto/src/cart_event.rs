use std::borrow::Cow;

use crate::error::DecodeError;
use crate::event_type::EventType;
use crate::fields::{Fields, Names, either, same};
use crate::spelling::Spelling;
use crate::writer::ObjectWriter;

/// What happened to a user's cart, on `carts.events`.
///
/// `{"type":"CartItemAdded","cartId":1,"userId":1,"itemId":1,"product":"…","quantity":1,"price":100,"updatedAt":"…"}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartEvent<'a> {
    pub cart_id: i64,
    pub user_id: i64,
    pub change: CartChange<'a>,
    /// When it happened, RFC 3339.
    pub updated_at: Option<Cow<'a, str>>,
}

/// The kinds of [`CartEvent`]; an item is told as it is afterwards, one that is gone as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CartChange<'a> {
    Created,
    ItemAdded(CartItem<'a>),
    ItemChanged(CartItem<'a>),
    ItemRemoved(CartItem<'a>),
}

/// A line of a cart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartItem<'a> {
    pub id: i64,
    pub product: Cow<'a, str>,
    pub quantity: i64,
    /// Of one piece, in minor units.
    pub price: i64,
}

impl CartChange<'_> {
    pub fn event_type(&self) -> EventType {
        match self {
            CartChange::Created => EventType::CartCreated,
            CartChange::ItemAdded(_) => EventType::CartItemAdded,
            CartChange::ItemChanged(_) => EventType::CartItemChanged,
            CartChange::ItemRemoved(_) => EventType::CartItemRemoved,
        }
    }

    fn item(&self) -> Option<&CartItem<'_>> {
        match self {
            CartChange::Created => None,
            CartChange::ItemAdded(item)
            | CartChange::ItemChanged(item)
            | CartChange::ItemRemoved(item) => Some(item),
        }
    }
}

const TYPE: usize = 0;
const CART_ID: usize = 1;
const USER_ID: usize = 2;
const ITEM_ID: usize = 3;
const PRODUCT: usize = 4;
const QUANTITY: usize = 5;
const PRICE: usize = 6;
const UPDATED_AT: usize = 7;
static NAMES: [Names; 8] = [
    either("type", "eventType"),
    either("cartId", "cart_id"),
    either("userId", "user_id"),
    either("itemId", "item_id"),
    same("product"),
    same("quantity"),
    same("price"),
    either("updatedAt", "updated_at"),
];

impl<'a> CartEvent<'a> {
    /// Reads a record's value.
    pub fn decode(value: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::read(value, &NAMES, Spelling::Camel)?;
        let text = fields.text(TYPE);
        let kind = fields.required(TYPE, text).and_then(|text| {
            let kind = EventType::ALL
                .into_iter()
                .find(|kind| as_change(*kind).is_some() && kind.is_named(&text));
            if kind.is_none() {
                fields.wrong(TYPE, "must be that of a cart's event");
            }
            kind
        });
        let cart_id = fields.number_id(CART_ID);
        let cart_id = fields.required(CART_ID, cart_id);
        let user_id = fields.number_id(USER_ID);
        let user_id = fields.required(USER_ID, user_id);
        let change = kind.and_then(as_change).and_then(|change| match change {
            None => Some(CartChange::Created),
            Some(change) => item(&mut fields).map(change),
        });
        let updated_at = fields.time(UPDATED_AT);
        match (cart_id, user_id, change) {
            (Some(cart_id), Some(user_id), Some(change)) if fields.is_fine() => Ok(Self {
                cart_id,
                user_id,
                change,
                updated_at,
            }),
            _ => Err(fields.into_error()),
        }
    }

    /// Appends the JSON to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut object = ObjectWriter::new(out);
        object
            .text("type", self.change.event_type().as_str())
            .integer("cartId", self.cart_id)
            .integer("userId", self.user_id);
        if let Some(item) = self.change.item() {
            object
                .integer("itemId", item.id)
                .text("product", &item.product)
                .integer("quantity", item.quantity)
                .integer("price", item.price);
        }
        object
            .text_if("updatedAt", self.updated_at.as_deref())
            .end();
    }
}

type OfItem<'a> = fn(CartItem<'a>) -> CartChange<'a>;

/// What an event of this type is made of: the inner `None` for one without an item, the outer for
/// one that is not a cart's.
fn as_change<'a>(kind: EventType) -> Option<Option<OfItem<'a>>> {
    match kind {
        EventType::CartCreated => Some(None),
        EventType::CartItemAdded => Some(Some(CartChange::ItemAdded)),
        EventType::CartItemChanged => Some(Some(CartChange::ItemChanged)),
        EventType::CartItemRemoved => Some(Some(CartChange::ItemRemoved)),
        _ => None,
    }
}

fn item<'a>(fields: &mut Fields<'a, 8>) -> Option<CartItem<'a>> {
    let id = fields.number_id(ITEM_ID);
    let id = fields.required(ITEM_ID, id);
    let product = fields.non_empty_text(PRODUCT);
    let product = fields.required(PRODUCT, product);
    let quantity = fields.whole(QUANTITY);
    let quantity = fields.required(QUANTITY, quantity);
    // Money: `999.0` is more likely to be of major units.
    let price = fields.integer(PRICE);
    let price = fields.required(PRICE, price);
    Some(CartItem {
        id: id?,
        product: product?,
        quantity: quantity?,
        price: price?,
    })
}
