use std::borrow::Cow;

use crate::error::DecodeError;
use crate::fields::{Fields, Names, same};
use crate::spelling::Spelling;

/// Longest name of a product, in characters.
const MAX_PRODUCT: usize = 200;

/// Readers of the contract in Java hold a quantity in 32 bits.
const MAX_QUANTITY: i64 = i32::MAX as i64;

/// The largest price in minor units that JavaScript holds exactly: 2^53 - 1.
const MAX_PRICE: i64 = (1 << 53) - 1;

/// `POST /api/cart/user/{userId}/items`: `{"product":"…","quantity":1,"price":100}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCartItem<'a> {
    /// 1 to 200 characters, no control characters.
    pub product: Cow<'a, str>,
    /// At least 1.
    pub quantity: i64,
    /// Of one piece in minor units, 0 or more.
    pub price: i64,
}

/// `PUT …/items/{id}`: what is given is changed, and something must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CartItemChange<'a> {
    pub product: Option<Cow<'a, str>>,
    pub quantity: Option<i64>,
    pub price: Option<i64>,
}

const PRODUCT: usize = 0;
const QUANTITY: usize = 1;
const PRICE: usize = 2;
static NAMES: [Names; 3] = [same("product"), same("quantity"), same("price")];

impl<'a> NewCartItem<'a> {
    /// Reads a request's body. [`DecodeError::Fields`] is the request's 422, with all wrong fields;
    /// any other error its 400.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let (mut fields, change) = read(body)?;
        let product = fields.required(PRODUCT, change.product);
        let quantity = fields.required(QUANTITY, change.quantity);
        let price = fields.required(PRICE, change.price);
        match (product, quantity, price) {
            (Some(product), Some(quantity), Some(price)) if fields.is_fine() => Ok(Self {
                product,
                quantity,
                price,
            }),
            _ => Err(fields.into_error()),
        }
    }
}

impl<'a> CartItemChange<'a> {
    /// Like [`NewCartItem::decode`].
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let (mut fields, change) = read(body)?;
        let nothing =
            change.product.is_none() && change.quantity.is_none() && change.price.is_none();
        if fields.is_fine() && nothing {
            fields.wrong(QUANTITY, "or product or price must be given");
        }
        if fields.is_fine() {
            Ok(change)
        } else {
            Err(fields.into_error())
        }
    }
}

fn read(body: &[u8]) -> Result<(Fields<'_, 3>, CartItemChange<'_>), DecodeError> {
    let mut fields = Fields::read(body, &NAMES, Spelling::Camel)?;
    let product = fields.non_empty_text(PRODUCT);
    if let Some(product) = &product {
        if product.chars().count() > MAX_PRODUCT {
            fields.wrong(
                PRODUCT,
                format!("must have at most {MAX_PRODUCT} characters"),
            );
        } else if product.chars().any(char::is_control) {
            fields.wrong(PRODUCT, "must not contain control characters");
        }
    }
    let quantity = fields.integer(QUANTITY);
    within(&mut fields, QUANTITY, quantity, 1, MAX_QUANTITY);
    let price = fields.integer(PRICE);
    within(&mut fields, PRICE, price, 0, MAX_PRICE);
    let change = CartItemChange {
        product,
        quantity,
        price,
    };
    Ok((fields, change))
}

fn within(fields: &mut Fields<'_, 3>, index: usize, value: Option<i64>, least: i64, most: i64) {
    match value {
        Some(value) if value < least => fields.wrong(index, format!("must be at least {least}")),
        Some(value) if value > most => fields.wrong(index, format!("must be at most {most}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong<T>(result: Result<T, DecodeError>) -> Vec<&'static str> {
        let Err(error) = result else {
            panic!("taken");
        };
        error.fields().iter().map(|error| error.field).collect()
    }

    #[test]
    fn all_wrong_fields_are_named() {
        let new = |body: &'static str| wrong(NewCartItem::decode(body.as_bytes()));
        assert_eq!(new("{}"), ["product", "quantity", "price"]);
        assert_eq!(
            new(r#"{"product":" ","quantity":0,"price":-1}"#),
            ["product", "quantity", "price"]
        );
        assert_eq!(
            new(r#"{"product":"a\tb","quantity":2147483648,"price":9007199254740992}"#),
            ["product", "quantity", "price"]
        );
        assert_eq!(
            new(r#"{"product":"a","quantity":1.5,"price":1}"#),
            ["quantity"]
        );
        let free = r#"{"product":"Книга","quantity":1,"price":0}"#;
        let item = NewCartItem::decode(free.as_bytes()).unwrap();
        assert_eq!((&*item.product, item.quantity, item.price), ("Книга", 1, 0));
    }

    #[test]
    fn a_change_needs_something_to_change() {
        let change = |body: &'static str| CartItemChange::decode(body.as_bytes());
        assert_eq!(wrong(change("{}")), ["quantity"]);
        assert_eq!(wrong(change(r#"{"quantity":0}"#)), ["quantity"]);
        assert_eq!(
            change(r#"{"quantity":3}"#).unwrap(),
            CartItemChange {
                product: None,
                quantity: Some(3),
                price: None
            }
        );
    }
}
