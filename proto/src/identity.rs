//! Which records are the same event.
//!
//! A record with a `ce_id` is that event. One without is as welcome, and is known by what it says:
//! an order by its order id, a status or notification by order id and status, a created user by the
//! user's id, a book event by its `eventId`, anything else by its place in the log. A record derived from an order is a
//! UUIDv5 (RFC 9562, 5.5) of (order id, step), so processing an order twice sends the same events twice, not two events.

use sha1::{Digest, Sha1};
use uuid::{Builder, Uuid};

use crate::fields::{Fields, Names, either};
use crate::{EventType, FinalStatus, Spelling, Status};

// UUIDv5 of their names, in a namespace of this system (see the test).
const CREATED: Uuid = Uuid::from_u128(0xc00a2661_d9d9_5402_ad4e_726ae912fe46);
const CONFIRMED: Uuid = Uuid::from_u128(0x188c2ab4_8857_512e_a58d_250828fb838d);
const REJECTED: Uuid = Uuid::from_u128(0xaeecaee1_3370_5db7_97ab_f228a402f03d);
const RESULT_CONFIRMED: Uuid = Uuid::from_u128(0xc843bf2f_90c0_5263_a5f1_976548c0fb0f);
const RESULT_REJECTED: Uuid = Uuid::from_u128(0x074ab26c_3281_558f_a7d4_e5d1f478f2fb);
const USER_CREATED: Uuid = Uuid::from_u128(0xd78c9411_28cf_58d8_b55d_74d023b8c685);
const CART_CREATED: Uuid = Uuid::from_u128(0x78e7b827_2dc7_569d_843d_58e84b10b457);
const AGGREGATE: Uuid = Uuid::from_u128(0xb4e642b1_7767_5407_bf52_553f9e3d82f0);
const IDEMPOTENCY_KEY: Uuid = Uuid::from_u128(0x3627422a_df44_54ea_9cf1_bddd5b1b17fd);

/// A record that is derived from an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// An OrderStatusEvent.
    Status(Status),
    /// A notification.
    Result(FinalStatus),
}

/// The `ce_id` of what `step` derives from an order.
pub fn derived(order_id: &str, step: Step) -> Uuid {
    // A namespace for each step instead of a longer name: with it, an order id of 36 characters
    // fits one block of SHA-1 (16 + 36 + 9 bytes of padding), which halves the cost.
    let namespace = match step {
        Step::Status(Status::Created) => &CREATED,
        Step::Status(Status::Confirmed) => &CONFIRMED,
        Step::Status(Status::Rejected) => &REJECTED,
        Step::Result(FinalStatus::Confirmed) => &RESULT_CONFIRMED,
        Step::Result(FinalStatus::Rejected) => &RESULT_REJECTED,
    };
    version_5(namespace, order_id)
}

/// [`Uuid::new_v5`] by another SHA-1, which uses the processor's instructions for it where it has them:
/// three of these are made for each order.
fn version_5(namespace: &Uuid, name: &str) -> Uuid {
    let hash = Sha1::new()
        .chain_update(namespace.as_bytes())
        .chain_update(name)
        .finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    Builder::from_sha1_bytes(bytes).into_uuid()
}

/// The `ce_id` of a user's `UserCreated`: a user is created once.
pub fn user_created(user_id: i64) -> Uuid {
    version_5(&USER_CREATED, &user_id.to_string())
}

/// The `ce_id` of the `CartCreated` of a user's cart.
pub fn cart_created(user_id: i64) -> Uuid {
    version_5(&CART_CREATED, &user_id.to_string())
}

/// The `ce_id` of an aggregate: what was found out about one thing at one time (milliseconds since 1970), so that a
/// record that is sent again is the same. `book_id` for [`EventType::BookStats`].
pub fn aggregate(kind: EventType, book_id: Option<i64>, generated_at: i64) -> Uuid {
    let book = book_id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    version_5(
        &AGGREGATE,
        &format!("{}/{book}/{generated_at}", kind.as_str()),
    )
}

const ORDER_ID: usize = 0;
const EVENT_ID: usize = 1;
const TYPE: usize = 2;
const USER_ID: usize = 3;
const BOOK_ID: usize = 4;
static NAMES: [Names; 5] = [
    either("orderId", "order_id"),
    either("eventId", "event_id"),
    either("type", "eventType"),
    either("userId", "user_id"),
    either("bookId", "book_id"),
];

/// Whether a record's value says which event it is, so that without a `ce_id` it is the same event at any place.
/// What else is in the value may be wrong. `event_type` is that of its headers
/// ([`ReceivedHeaders::event_type`](crate::ReceivedHeaders)), which counts where the value has no type.
pub fn is_in_value(value: &[u8], event_type: Option<&str>) -> bool {
    let Ok(mut fields) = Fields::read(value, &NAMES, Spelling::Camel) else {
        return false;
    };
    // An order's id beside a book's is not the event's.
    let is_known = (!fields.is_given(BOOK_ID) && fields.order_id(ORDER_ID).is_some())
        || fields.order_id(EVENT_ID).is_some()
        || fields
            .text(TYPE)
            .as_deref()
            .or(event_type)
            .is_some_and(|kind| EventType::UserCreated.is_named(kind))
            && fields.number_id(USER_ID).is_some();
    is_known && fields.is_fine()
}

/// The identity of a record that says nothing about itself.
pub fn of_place(topic: &str, partition: i32, offset: i64) -> String {
    format!("{topic}/{partition}/{offset}")
}

/// What an `Idempotency-Key` stands for on a route: kept instead of the key, which is a client's own.
pub fn idempotent_request(route: &str, key: &str) -> Uuid {
    idempotent_order(route, None, key)
}

/// An event's id in 16 bytes, whatever it looks like: for remembering many of them.
pub fn digest(event_id: &str) -> Uuid {
    version_5(&Uuid::nil(), event_id)
}

pub(crate) fn idempotent_order(route: &str, user: Option<&str>, key: &str) -> Uuid {
    // Lengths first, so that no part can be taken for the end of another.
    let user = user.map_or_else(|| "-".to_owned(), |user| format!("{}:{user}", user.len()));
    let name = format!("{}:{route}{user}{key}", route.len());
    version_5(&IDEMPOTENCY_KEY, &name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SYSTEM: Uuid = Uuid::from_u128(0x6f1d4c0e_5a0b_4a57_9d53_3c0c1a5be2f7);

    #[test]
    fn namespaces_are_version_5_of_their_names() {
        for (namespace, name) in [
            (CREATED, "CREATED"),
            (CONFIRMED, "CONFIRMED"),
            (REJECTED, "REJECTED"),
            (RESULT_CONFIRMED, "RESULT-CONFIRMED"),
            (RESULT_REJECTED, "RESULT-REJECTED"),
            (IDEMPOTENCY_KEY, "IDEMPOTENCY-KEY"),
            (USER_CREATED, "USER-CREATED"),
            (CART_CREATED, "CART-CREATED"),
            (AGGREGATE, "AGGREGATE"),
        ] {
            assert_eq!(namespace, Uuid::new_v5(&SYSTEM, name.as_bytes()), "{name}");
        }
    }

    proptest! {
        #[test]
        fn version_5_is_that_of_the_uuid_crate(namespace: u128, name: String) {
            let namespace = Uuid::from_u128(namespace);
            prop_assert_eq!(version_5(&namespace, &name), Uuid::new_v5(&namespace, name.as_bytes()));
        }
    }

    #[test]
    fn each_step_of_each_order_is_one_event() {
        let steps = [
            Step::Status(Status::Created),
            Step::Status(Status::Confirmed),
            Step::Status(Status::Rejected),
            Step::Result(FinalStatus::Confirmed),
            Step::Result(FinalStatus::Rejected),
        ];
        let mut seen = std::collections::HashSet::new();
        for order in ["1", "2"] {
            for step in steps {
                assert!(seen.insert(derived(order, step)));
                assert!(!seen.insert(derived(order, step)));
            }
        }
        // Fixed for good: a new version of the program must not make new events of old orders.
        assert_eq!(
            derived("12345", Step::Status(Status::Created)).to_string(),
            "b989d4c7-9fc9-56e9-95d7-1173c6c769a1"
        );
    }

    #[test]
    fn a_value_that_says_which_event_it_is() {
        for (value, ce_type, known) in [
            (r#"{"orderId":"1"}"#, None, true),
            (r#"{"order_id":1,"quantity":"many"}"#, None, true),
            (r#"{"eventId":"e","rating":9}"#, None, true),
            (r#"{"eventId":"e","bookId":"none"}"#, None, true),
            (r#"{"bookId":3,"orderId":"1"}"#, None, false),
            (
                r#"{"type":"UserCreated","userId":"7","createdAt":0}"#,
                None,
                true,
            ),
            (r#"{"user_id":7}"#, Some("UserCreated"), true),
            (
                r#"{"type":"UserRenamed","userId":7}"#,
                Some("UserCreated"),
                false,
            ),
            (r#"{"type":"UserCreated"}"#, None, false),
            (r#"{"type":"UserCreated","userId":0}"#, None, false),
            (r#"{"userId":7}"#, None, false),
            (r#"{"eventId":""}"#, None, false),
            (r#"{"orderId":"1","order_id":"2"}"#, None, false),
            (r#"{"orderId":null}"#, None, false),
            ("[]", None, false),
            ("", Some("UserCreated"), false),
        ] {
            assert_eq!(is_in_value(value.as_bytes(), ce_type), known, "{value}");
        }
    }

    #[test]
    fn a_record_that_says_nothing_is_known_by_its_place() {
        assert_eq!(of_place("orders", 2, 17), "orders/2/17");
    }
}
