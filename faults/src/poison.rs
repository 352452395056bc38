//! Records that are no events of ours, as somebody may put them into a topic.

mod letters;

pub use letters::{Placed, as_they_were};

use kafka::{Client, OutgoingRecord, Producer, partition_for_key};
use proto::BookEventKind;

use crate::history::Place;

/// Largest value that a topic takes with a key and little else; with the headers of a dead letter
/// it is larger than it takes (1 MiB).
pub const MUCH: usize = 1024 * 1024 - 200;

/// Of all that is written past the services: one key, so that what comes behind comes behind.
pub const KEY: &str = "poison";

pub type Headers = &'static [(&'static [u8], Option<&'static [u8]>)];

/// Headers that are no UTF-8: no fault of the record.
pub const STRANGE_HEADERS: Headers = &[
    (b"traceparent", Some(b"\xff\xfe")),
    (b"ce_id", Some(b"\xc3\x28")),
    (b"ce_specversion", None),
    (b"\xff", Some(b"\xff")),
];

/// Which events a topic holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Order,
    Status,
    Notification,
    Book(BookEventKind),
    Aggregate,
}

impl Form {
    /// An event with this for its quantity, status, amount, rating or time, or else for its book.
    fn with(self, what: &str) -> String {
        match self {
            Self::Order => {
                format!(r#"{{"orderId":"poison","product":"Laptop","quantity":{what}}}"#)
            }
            Self::Status => format!(r#"{{"orderId":"poison","status":{what}}}"#),
            Self::Notification => format!(r#"{{"order_id":"poison","status":{what}}}"#),
            Self::Book(BookEventKind::Purchased) => {
                format!(r#"{{"bookId":1,"userId":"u","currency":"RUB","amount":{what}}}"#)
            }
            Self::Book(BookEventKind::Rated) => format!(r#"{{"bookId":1,"rating":{what}}}"#),
            Self::Book(_) => format!(r#"{{"bookId":{what},{}}}"#, self.rest()),
            Self::Aggregate => {
                format!(r#"{{"aggregationType":"POPULAR_BOOKS","generatedAt":{what},"data":[]}}"#)
            }
        }
    }

    /// What an event is known by, in both spellings.
    fn id(self) -> [&'static str; 2] {
        match self {
            Self::Order | Self::Status | Self::Notification => ["orderId", "order_id"],
            Self::Book(_) => ["bookId", "book_id"],
            Self::Aggregate => ["aggregationType", "aggregation_type"],
        }
    }

    /// All of an event but its id.
    fn rest(self) -> &'static str {
        match self {
            Self::Order => r#""product":"Laptop","quantity":1"#,
            Self::Status | Self::Notification => r#""status":"CONFIRMED""#,
            Self::Book(BookEventKind::Viewed) => r#""userId":"u""#,
            Self::Book(BookEventKind::Downloaded) => r#""userId":"u","timestamp":null"#,
            Self::Book(BookEventKind::Purchased) => r#""userId":"u","amount":1,"currency":"RUB""#,
            Self::Book(BookEventKind::Reviewed) => r#""text":"good","action":"created""#,
            Self::Book(BookEventKind::Rated) => r#""rating":5"#,
            Self::Aggregate => r#""generatedAt":"2026-01-01T00:00:00Z","data":[]"#,
        }
    }
}

/// What somebody puts into a topic.
#[derive(Debug, Clone)]
pub struct Poison {
    pub what: &'static str,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

/// Every kind of it.
pub fn kinds(form: Form, random: &mut fastrand::Rng) -> Vec<Poison> {
    let text = |what, value: &str| Poison {
        what,
        value: Some(value.as_bytes().to_vec()),
        headers: &[
            (b"x", Some(b"kept")),
            (b"x", None),
            (b"\xff\xfe", Some(b"\x00\xff")),
        ],
    };
    let mut garbage = |what, bytes| Poison {
        what,
        value: Some((0..bytes).map(|_| random.u8(..)).collect()),
        headers: &[],
    };
    let rest = form.rest();
    let [id, other] = form.id();
    vec![
        garbage("1 MiB of garbage, too large for a letter", MUCH),
        garbage("garbage", 900_000),
        text("not JSON", "not json"),
        text(
            "JSON that ends early",
            r#"{"orderId":"poison","product":"La"#,
        ),
        text("no object", "[1,2,3]"),
        text("missing fields", "{}"),
        text("wrong types", &form.with("[]")),
        text(
            "an id of the wrong type",
            &format!(r#"{{"{id}":[],{rest}}}"#),
        ),
        text(
            "both spellings, with different values",
            &format!(r#"{{"{id}":"1","{other}":"2",{rest}}}"#),
        ),
        text("neither an integer nor a status", &form.with("1.5")),
        text("a number larger than any", &form.with("1e999999")),
        text(
            "a number of 100,000 digits",
            &form.with(&"9".repeat(100_000)),
        ),
        text("deeply nested arrays", &"[".repeat(500_000)),
        text(
            "deeply nested objects",
            &form.with(&r#"{"a":"#.repeat(100_000)),
        ),
        text("an empty text", &form.with(r#""""#)),
        text("an empty value", ""),
        text("spaces", "   "),
        Poison {
            what: "a null value",
            value: None,
            headers: &[],
        },
        Poison {
            what: "text that is no UTF-8",
            value: Some(
                [
                    b"{\"",
                    id.as_bytes(),
                    b"\":\"\xff\xfe\",",
                    rest.as_bytes(),
                    b"}",
                ]
                .concat(),
            ),
            headers: &[],
        },
    ]
}

/// Writes to Kafka past the services.
pub struct Writer {
    producer: Producer,
}

impl Writer {
    /// # Panics
    /// Never: the producer's settings are its defaults.
    pub fn new(client: &Client) -> Self {
        Self {
            producer: client.producer().build().expect("a producer"),
        }
    }

    /// Writes poison that `group` has to put aside.
    ///
    /// # Panics
    /// When it is not taken.
    pub async fn poison(&self, topic: &str, poison: Poison, group: &str) -> Placed {
        let value = poison.value.as_deref();
        Placed {
            place: self.send(topic, value, poison.headers).await,
            group: group.to_owned(),
            poison,
        }
    }

    /// Writes a record under [`KEY`], and tells where it lies.
    ///
    /// # Panics
    /// When it is not taken.
    pub async fn send(
        &self,
        topic: &str,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Place {
        let record = OutgoingRecord {
            topic,
            key: Some(KEY.as_bytes()),
            value,
            headers,
            ..OutgoingRecord::default()
        };
        let written = self.producer.send(&record).await.expect("it is taken");
        Place {
            topic: topic.into(),
            partition: written.partition,
            offset: written.offset,
        }
    }
}

/// The first id of this name whose events lie in the partition of [`KEY`], of a topic with so many.
///
/// # Panics
/// Never: some number leads there.
pub fn id_beside(name: &str, partitions: i32) -> String {
    let partition = |id: &str| partition_for_key(id.as_bytes(), partitions);
    let mut ids = (0..).map(|number| format!("{name}-{number}"));
    let beside = ids.find(|id| partition(id) == partition(KEY));
    beside.expect("an id of every partition")
}
