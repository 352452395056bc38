//! What an order id may be, how one is made, and how it is found in an event.

use std::borrow::Cow;

use uuid::Uuid;

use crate::fields::{Fields, Names, either};
use crate::{Spelling, UuidText, identity};

/// The longest order id, in characters.
pub const MAX_CHARS: usize = 128;

/// What is wrong with an order id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OrderIdError {
    #[error("must not be empty")]
    Empty,
    #[error("must have at most {MAX_CHARS} characters")]
    TooLong,
    #[error("must consist of printable characters")]
    Unprintable,
    #[error("must not be \"events\", \".\" or \"..\": the path of an order cannot end with it")]
    Unreachable,
}

/// One to [`MAX_CHARS`] printable characters.
///
/// Printable is what leaves a mark or is a plain space; control, format (zero-width, direction) and
/// other blank characters are not.
pub fn check(id: &str) -> Result<(), OrderIdError> {
    if id.is_empty() {
        return Err(OrderIdError::Empty);
    }
    if id.len() > MAX_CHARS && id.chars().count() > MAX_CHARS {
        return Err(OrderIdError::TooLong);
    }
    let fine = |b: &u8| matches!(b, b' '..=b'~');
    if id.as_bytes().iter().all(fine) || id.chars().all(is_printable) {
        return Ok(());
    }
    Err(OrderIdError::Unprintable)
}

/// What a new order's id must not be: `/api/orders/events` is another route, and clients take `.` and `..`
/// (as `%2E`, too: WHATWG URL, "path state") out of a path before they send it.
///
/// For what is asked for over HTTP alone. Records of other systems may have such ids; they are orders like
/// others, and are read by `GET /api/orders?orderId=`.
pub fn check_reachable(id: &str) -> Result<(), OrderIdError> {
    match id {
        "events" | "." | ".." => Err(OrderIdError::Unreachable),
        _ => Ok(()),
    }
}

pub(crate) fn is_printable(c: char) -> bool {
    if c == ' ' {
        return true;
    }
    // General categories Cc, Zs, Zl, Zp by the standard library; Cf by its ranges in Unicode 16,
    // and the noncharacters.
    let format = matches!(
        c as u32,
        0xad | 0x600..=0x605
            | 0x61c
            | 0x6dd
            | 0x70f
            | 0x890..=0x891
            | 0x8e2
            | 0x180e
            | 0x200b..=0x200f
            | 0x202a..=0x202e
            | 0x2060..=0x206f
            | 0xfeff
            | 0xfff0..=0xfffb
            | 0x110bd
            | 0x110cd
            | 0x13430..=0x1343f
            | 0x1bca0..=0x1bca3
            | 0x1d173..=0x1d17a
            | 0xe0000..=0xe0fff
    );
    let noncharacter = c as u32 & 0xfffe == 0xfffe || matches!(c as u32, 0xfdd0..=0xfdef);
    !(c.is_control() || c.is_whitespace() || format || noncharacter)
}

/// The order id of an order, status or notification, at a fraction of the cost of decoding it where
/// the id comes first, as all known writers have it. None if there is no valid one.
///
/// For choosing a lane: an event that decodes yields the id that it decodes to; what does not decode
/// may yield any.
pub fn peek(value: &[u8]) -> Option<Cow<'_, str>> {
    let rest = value
        .strip_prefix(br#"{"orderId":""#)
        .or_else(|| value.strip_prefix(br#"{"order_id":""#));
    if let Some(rest) = rest {
        let end = rest.iter().position(|&b| b == b'"' || b == b'\\')?;
        if rest[end] == b'"' {
            return std::str::from_utf8(&rest[..end]).ok().map(Cow::Borrowed);
        }
    }
    Fields::read(value, &NAMES, Spelling::Camel)
        .ok()?
        .order_id(0)
}

static NAMES: [Names; 1] = [either("orderId", "order_id")];

/// A new order id: UUIDv7, so that ids grow with time.
pub fn new() -> UuidText {
    UuidText::new(Uuid::now_v7())
}

/// The order id that an `Idempotency-Key` stands for: UUIDv5 of (route, user, key), so that a retry
/// of a request is the same order.
pub fn idempotent(route: &str, user: Option<&str>, key: &str) -> UuidText {
    UuidText::new(identity::idempotent_order(route, user, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_128_printable_characters() {
        for id in [
            "1",
            "order 7",
            "заказ-№1",
            "é",
            &"x".repeat(128),
            &"ж".repeat(128),
        ] {
            assert_eq!(check(id), Ok(()), "{id}");
        }
        assert_eq!(check(""), Err(OrderIdError::Empty));
        assert_eq!(check(&"x".repeat(129)), Err(OrderIdError::TooLong));
        assert_eq!(check(&"ж".repeat(129)), Err(OrderIdError::TooLong));
        for id in [
            "a\nb",
            "\0",
            "\u{7f}",
            "\u{85}",
            "a\u{a0}b",
            "\u{200b}",
            "\u{202e}x",
            "\u{feff}",
            "\u{2028}",
            "\u{ffff}",
        ] {
            assert_eq!(check(id), Err(OrderIdError::Unprintable), "{id:?}");
        }
    }

    #[test]
    fn an_idempotency_key_names_one_order_of_one_user_on_one_route() {
        let id = idempotent("/api/orders", Some("u1"), "k1");
        assert_eq!(id, idempotent("/api/orders", Some("u1"), "k1"));
        let others = [
            idempotent("/orders", Some("u1"), "k1"),
            idempotent("/api/orders", Some("u2"), "k1"),
            idempotent("/api/orders", Some("u1"), "k2"),
            idempotent("/api/orders", None, "k1"),
            idempotent("/api/orders", Some(""), "k1"),
            // The parts do not run into each other.
            idempotent("/api/orders", Some("u1k"), "1"),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(id, *other);
            assert!(!others[..index].contains(other));
        }
        assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 5);
    }

    #[test]
    fn new_ids_are_uuid_v7() {
        let id = Uuid::parse_str(&new()).unwrap();
        assert_eq!(id.get_version_num(), 7);
        assert_ne!(new(), new());
    }
}
