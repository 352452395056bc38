//! Records that are no orders, among those that are: they become dead letters, and what is behind
//! them is processed.

use std::time::Duration;

use kafka::{NewTopic, OutgoingRecord, Producer};
use proto::dead_letter;
use testkit::{eventually, http};

use crate::checker::Verdict;
use crate::gather;
use crate::history::{Group, History, Place};
use crate::load::{self, Load, LoadPlan};
use crate::run::Run;
use crate::shop::{Shop, Stage};

/// How long something may take that the shop does by itself, such as the longest wait before a
/// dead letter is sent again (30 s).
const PATIENCE: Duration = Duration::from_secs(90);

/// Largest value that a topic takes with a key and little else; with the headers of a dead letter
/// it is larger than it takes (1 MiB).
const MUCH: usize = 1024 * 1024 - 200;

type Headers = &'static [(&'static [u8], Option<&'static [u8]>)];

/// What somebody puts into a topic of orders.
struct Poison {
    what: &'static str,
    value: Option<Vec<u8>>,
    headers: Headers,
}

/// Where it lies.
struct Placed<'a> {
    poison: &'a Poison,
    place: Place,
}

fn kinds(random: &mut fastrand::Rng) -> Vec<Poison> {
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
    let order = |product: &str, quantity: &str| {
        format!(r#"{{"orderId":"poison","product":{product},"quantity":{quantity}}}"#)
    };
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
        text("wrong types", &order("{}", "[]")),
        text(
            "an id of the wrong type",
            r#"{"orderId":[],"product":"Laptop","quantity":1}"#,
        ),
        text(
            "both spellings, with different values",
            r#"{"orderId":"a","order_id":"b","product":"Laptop","quantity":1}"#,
        ),
        text(
            "a quantity that is no integer",
            &order(r#""Laptop""#, "1.5"),
        ),
        text(
            "a number larger than any",
            &order(r#""Laptop""#, "1e999999"),
        ),
        text(
            "a number of 100,000 digits",
            &order(r#""Laptop""#, &"9".repeat(100_000)),
        ),
        text("deeply nested arrays", &"[".repeat(500_000)),
        text(
            "deeply nested objects",
            &order(&r#"{"a":"#.repeat(100_000), "1"),
        ),
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
                b"{\"orderId\":\"\xff\xfe\",\"product\":\"Laptop\",\"quantity\":1}".to_vec(),
            ),
            headers: &[],
        },
    ]
}

/// Headers that are no UTF-8: no fault of the order.
const STRANGE_HEADERS: Headers = &[
    (b"traceparent", Some(b"\xff\xfe")),
    (b"ce_id", Some(b"\xc3\x28")),
    (b"ce_specversion", None),
    (b"\xff", Some(b"\xff")),
];

/// All kinds of poison, with good orders right behind.
pub async fn kinds_of_poison(run: Run) -> Verdict {
    let shop = Shop::open(Stage::any().await).await;
    let plan = run.steady_plan();
    let poison = kinds(&mut run.random());
    let mut placed = Vec::new();
    let mut load = shop.load(plan.clone());
    for (round, moment) in run.moments().into_iter().enumerate() {
        load.reached(moment).await;
        let writer = Writer::new(&shop, &plan);
        let topics = [&shop.names.orders, &shop.names.snake_orders];
        for (number, poison) in poison.iter().enumerate() {
            let topic = topics[number % topics.len()];
            let place = writer
                .send(topic, poison.value.as_deref(), poison.headers)
                .await;
            let good = writer.order(&format!("behind-{round}-{number}"));
            writer.send(topic, Some(&good), STRANGE_HEADERS).await;
            placed.push(Placed { poison, place });
        }
    }
    let (shop, history, verdict) = settled(shop, &plan, load).await;
    for placed in &placed {
        expect_letters(&history, &placed.place, placed.poison.what);
    }
    as_they_were(&shop, &placed).await;
    verdict
}

/// The dead-letter topic has been deleted: the partition is held, and the service says so, until it
/// is there again.
pub async fn without_a_place_for_letters(run: Run) -> Verdict {
    let shop = Shop::open(Stage::any().await).await;
    let admin = shop.client.admin();
    let letters = format!("{}{}", shop.names.orders, proto::topics::DEAD_LETTER_SUFFIX);
    admin
        .delete_topics(&[&letters])
        .await
        .expect("it is deleted");
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    load.reached(run.orders / 4).await;
    let writer = Writer::new(&shop, &plan);
    let place = writer
        .send(&shop.names.orders, Some(b"not json"), &[])
        .await;
    let consumer = shop.consumers[0].address;
    eventually(PATIENCE, || async {
        let answer = http::get(consumer, "/readyz").await;
        let said = answer.body.contains(&letters)
            && answer.body.contains(&format!("offset {}", place.offset));
        said.then_some(())
    })
    .await;
    // The others go on.
    let accepted = load.accepted();
    load.reached(accepted + run.orders / 4).await;
    let output = shop.consumers[0].process.output();
    assert!(output.contains("its record is held"), "{output}");
    let committed = admin.committed_offsets(&shop.names.processing).await;
    let committed = committed.expect("committed offsets");
    let held = committed
        .iter()
        .find(|(of, _)| *of.topic == *place.topic && of.partition == place.partition);
    let held = held.map(|(_, commit)| commit.offset);
    assert!(held <= Some(place.offset), "{place} is passed: {held:?}");

    let topic = NewTopic::new(&letters, 3, shop.stage.replicas() as i16);
    admin
        .create_topics(&[topic])
        .await
        .expect("a topic is made");
    let (_, history, verdict) = settled(shop, &plan, load).await;
    expect_letters(&history, &place, "not JSON");
    verdict
}

async fn settled(mut shop: Shop, plan: &LoadPlan, load: Load) -> (Shop, History, Verdict) {
    load.enough();
    let (history, verdict) = shop.settle(plan, load).await;
    verdict.assert_clean();
    (shop, history, verdict)
}

/// There is one dead letter of a record, of the group that owns the orders' letters.
#[track_caller]
fn expect_letters(history: &History, place: &Place, what: &str) {
    let letters = history.letters.iter();
    let groups: Vec<_> = letters
        .filter(|letter| letter.event.of == *place)
        .map(|letter| letter.event.group)
        .collect();
    assert_eq!(groups, [Group::Processing], "{what} at {place}");
}

/// Every letter has its record's key, value and headers and says a reason, or what it has not.
async fn as_they_were(shop: &Shop, placed: &[Placed<'_>]) {
    let topics: Vec<_> = shop.names.topics();
    let mut looked_at = 0;
    gather::each_record(&shop.client, &topics, |record| {
        let header = |name| record.headers.get_str(name);
        let source = (
            header(dead_letter::ORIGINAL_TOPIC),
            header(dead_letter::ORIGINAL_PARTITION).and_then(|text| text.parse::<i32>().ok()),
            header(dead_letter::ORIGINAL_OFFSET).and_then(|text| text.parse::<i64>().ok()),
        );
        let of = placed.iter().find(|Placed { place, .. }| {
            source
                == (
                    Some(&*place.topic),
                    Some(place.partition),
                    Some(place.offset),
                )
        });
        let Some(Placed { poison, place }) = of else {
            return;
        };
        looked_at += 1;
        let what = format!("{} at {place}", poison.what);
        assert!(
            header(dead_letter::REASON).is_some_and(|r| !r.is_empty()),
            "{what}"
        );
        assert_eq!(record.key.as_deref(), Some(KEY.as_bytes()), "{what}");
        let headers: Vec<_> = record.headers.iter().take(poison.headers.len()).collect();
        assert_eq!(headers, poison.headers, "{what}");
        if poison
            .value
            .as_ref()
            .is_some_and(|value| value.len() == MUCH)
        {
            assert_eq!(header(dead_letter::OMITTED), Some("value"), "{what}");
            assert_eq!(record.value, None, "{what}");
        } else {
            assert_eq!(header(dead_letter::OMITTED), None, "{what}");
            assert!(record.value.as_deref() == poison.value.as_deref(), "{what}");
        }
    })
    .await;
    assert_eq!(looked_at, placed.len());
}

/// Of all that is written past the services: one key, so that what comes behind comes behind.
const KEY: &str = "poison";

/// Writes to Kafka past the services.
struct Writer {
    producer: Producer,
    user: String,
}

impl Writer {
    fn new(shop: &Shop, plan: &LoadPlan) -> Self {
        let user = load::users(&plan.prefix, 1).next();
        Self {
            producer: shop.client.producer().build().expect("a producer"),
            user: user.expect("a user of the plan"),
        }
    }

    /// An order in JSON, of the plan's first user, whose notifications are looked at.
    fn order(&self, id: &str) -> Vec<u8> {
        let user = &self.user;
        format!(r#"{{"orderId":"{id}","product":"Laptop","quantity":1,"userId":"{user}"}}"#).into()
    }

    async fn send(
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
