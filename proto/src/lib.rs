//! The contract of the shop: what its services say to each other through Kafka.
//!
//! Topics ([`topics`]) and groups ([`groups`]), the events on them with their JSON, and the headers
//! that travel with each record. No I/O, no async, no Kafka client: a header is looked up through a
//! closure, and headers to send are plain byte slices.
//!
//! Where to look first:
//! - [`Order`], [`OrderStatusEvent`], [`Notification`], [`UserEvent`], [`CartEvent`], [`BookEvent`]: one event a
//!   file; each decodes from borrowed bytes and writes itself into a reused buffer. [`OrderRequest`],
//!   [`RegistrationRequest`], [`NewCartItem`] and [`BookEventRequest`] are what is taken over HTTP. [`Aggregate`]: what
//!   the events of books come to.
//! - [`DecodeError`]: what is wrong with bytes that are no event of ours, all wrong fields named.
//! - [`EventHeaders`] (CloudEvents binary mode), [`Traceparent`] (W3C), [`identity`] (which records
//!   are the same event) and [`dead_letter`] (headers of the `<topic>-dlt` topics).
//!
//! A new event is a file of its own: its names in a table, a `decode`, a `write`, a line in
//! [`EventType`] and in [`topics`]. Hot path: decoding borrows, writing appends to a buffer that the
//! caller reuses, headers and their values lie on the stack.

mod aggregate;
mod amount;
mod average;
mod book_event;
mod book_event_request;
mod cart_event;
mod cart_item_request;
mod currency;
pub mod dead_letter;
mod email;
mod error;
mod event_type;
mod fields;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod groups;
pub mod headers;
pub mod identity;
mod notification;
mod order;
pub mod order_id;
mod order_request;
mod order_status;
mod registration_request;
mod spelling;
mod time;
pub mod topics;
mod trace;
mod user_event;
mod uuid_text;
mod writer;

pub use aggregate::{Aggregate, AggregateData, Figures, PopularBook, ReadAggregate};
pub use amount::Amounts;
pub use average::Average;
pub use book_event::{BookDetail, BookEvent, BookEventKind, MAX_AMOUNT, ReviewAction};
pub use book_event_request::BookEventRequest;
pub use cart_event::{CartChange, CartEvent, CartItem};
pub use cart_item_request::{CartItemChange, NewCartItem};
pub use currency::Currency;
pub use error::{DecodeError, FieldError, FieldErrors};
pub use event_type::{EventType, TypeIds};
pub use headers::{EventHeaders, Header, HeaderList, ReceivedHeaders};
pub use notification::Notification;
pub use order::Order;
pub use order_request::OrderRequest;
pub use order_status::{FinalStatus, OrderStatusEvent, Status, StatusWord};
pub use registration_request::RegistrationRequest;
pub use spelling::Spelling;
pub use time::{Rfc3339, now_millis};
pub use topics::Topic;
pub use trace::Traceparent;
pub use user_event::{UserCreated, UserEvent};
pub use uuid_text::UuidText;
