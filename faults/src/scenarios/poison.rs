//! Records that are no events of ours, in every topic that a service consumes: they become dead
//! letters, and what is behind them is processed.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use kafka::NewTopic;
use serde_json::Value;
use testkit::eventually;
use testkit::http::{self, Events};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::checker::Verdict;
use crate::history::{Group, History, Place};
use crate::load::{self, Load, LoadPlan};
use crate::poison::{Form, STRANGE_HEADERS, Writer, as_they_were, id_beside, kinds};
use crate::run::Run;
use crate::shop::{Instance, Names, Shop, Stage};

/// How long something may take that the shop does by itself, such as the longest wait before a
/// dead letter is sent again (30 s).
const PATIENCE: Duration = Duration::from_secs(90);

/// Partitions of every topic that the services make.
const PARTITIONS: i32 = 3;

/// What the ids begin with of the orders right behind poison.
const BEHIND: &str = "behind-";

/// A topic that is consumed, what it holds, and who puts aside what it should not hold.
struct Consumed<'a> {
    topic: &'a str,
    form: Form,
    reader: Group,
}

impl<'a> Consumed<'a> {
    fn all(names: &'a Names) -> [Self; 4] {
        let of = |topic, form, reader| Self {
            topic,
            form,
            reader,
        };
        [
            of(&names.orders, Form::Order, Group::Processing),
            of(&names.snake_orders, Form::Order, Group::Processing),
            of(&names.statuses, Form::Status, Group::View),
            of(
                &names.notifications,
                Form::Notification,
                Group::Notification,
            ),
        ]
    }

    fn letters(&self) -> String {
        format!("{}{}", self.topic, proto::topics::DEAD_LETTER_SUFFIX)
    }
}

/// All kinds of poison in every topic, with a good order right behind each, whose events come right
/// behind it in whichever topic it lies.
pub async fn kinds_of_poison(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::any().await).await;
    let names = shop.names.clone();
    let plan = run.steady_plan();
    let mut random = run.random();
    let mut placed = Vec::new();
    let mut behind = BTreeSet::new();
    let told = [
        Stream::open(shop.producers[0].address, "/api/orders/events").await,
        Stream::open(shop.notifiers[0].address, "/api/notifications/events").await,
    ];
    let mut load = shop.load(plan.clone());
    for (round, moment) in run.moments().into_iter().enumerate() {
        load.reached(moment).await;
        let writer = Writer::new(&shop.client);
        for consumed in Consumed::all(&names) {
            for poison in kinds(consumed.form, &mut random) {
                let Consumed {
                    topic,
                    form,
                    reader,
                } = consumed;
                let written = writer.poison(topic, poison, names.group(reader)).await;
                if form != Form::Order {
                    shop.poisoned(written.place.clone());
                }
                placed.push(written);
                let name = format!("{BEHIND}{round}-{}", behind.len());
                let id = id_beside(&name, PARTITIONS);
                let order = order(&plan, &id);
                writer
                    .send(&names.orders, Some(&order), STRANGE_HEADERS)
                    .await;
                behind.insert(id);
            }
        }
    }
    for stream in told {
        stream.tells_of(&behind).await;
    }
    viewed(&shop, &behind).await;
    load.reached(run.orders).await;
    let (shop, _, verdict) = settled(shop, &plan, load).await;
    as_they_were(&shop.client, &names.topics(), &placed).await;
    verdict
}

/// The dead-letter topics have been deleted: the partitions are held, and the services say so, until
/// they are there again.
pub async fn without_a_place_for_letters(run: Run) -> Verdict {
    let mut shop = Shop::open(Stage::any().await).await;
    let names = shop.names.clone();
    let admin = shop.client.admin();
    // Of the topics of orders one: what has one key waits in one lane, whichever of them it is in.
    let [orders, _, statuses, notifications] = Consumed::all(&names);
    let consumed = [orders, statuses, notifications];
    let letters = consumed.each_ref().map(Consumed::letters);
    admin
        .delete_topics(&letters.each_ref().map(String::as_str))
        .await
        .expect("they are deleted");
    let plan = run.steady_plan();
    let mut load = shop.load(plan.clone());
    load.reached(run.orders / 4).await;
    let writer = Writer::new(&shop.client);
    let mut held = Vec::new();
    for Consumed {
        topic,
        form,
        reader,
    } in &consumed
    {
        let place = writer.send(topic, Some(b"not json"), &[]).await;
        if *form != Form::Order {
            shop.poisoned(place.clone());
        }
        held.push((place, *reader));
    }
    for ((place, reader), letters) in held.iter().zip(&letters) {
        let instance = reading(&shop, *reader);
        eventually(PATIENCE, || async {
            let answer = http::get(instance.address, "/readyz").await;
            let said = answer.body.contains(letters)
                && answer.body.contains(&format!("offset {}", place.offset));
            said.then_some(())
        })
        .await;
    }
    // The others go on.
    let accepted = load.accepted();
    load.reached(accepted + run.orders / 4).await;
    for (place, reader) in &held {
        let output = reading(&shop, *reader).process.output();
        assert!(output.contains("its record is held"), "{output}");
        let committed = admin.committed_offsets(names.group(*reader)).await;
        let committed = committed.expect("committed offsets");
        let of = committed
            .iter()
            .find(|(of, _)| *of.topic == *place.topic && of.partition == place.partition);
        let offset = of.map(|(_, commit)| commit.offset);
        assert!(
            offset <= Some(place.offset),
            "{place} is passed: {offset:?}"
        );
    }
    let replicas = shop.stage.replicas() as i16;
    let topics = letters.map(|letters| NewTopic::new(letters, PARTITIONS, replicas));
    admin.create_topics(&topics).await.expect("topics are made");
    let (_, history, verdict) = settled(shop, &plan, load).await;
    for (place, reader) in &held {
        expect_letter(&history, place, *reader);
    }
    verdict
}

/// An order in JSON, of the plan's first user, whose notifications are looked at.
fn order(plan: &LoadPlan, id: &str) -> Vec<u8> {
    let user = load::user(&plan.prefix, 0);
    format!(r#"{{"orderId":"{id}","product":"Laptop","quantity":1,"userId":"{user}"}}"#).into()
}

/// The service that a group belongs to.
fn reading(shop: &Shop, group: Group) -> &Instance {
    match group {
        Group::Processing => &shop.consumers[0],
        Group::View => &shop.producers[0],
        Group::Notification => &shop.notifiers[0],
    }
}

/// Server-sent events of all orders, followed as a browser does.
struct Stream {
    /// Orders behind poison that it has told to be confirmed.
    told: watch::Receiver<BTreeSet<String>>,
    task: JoinHandle<()>,
}

impl Stream {
    async fn open(address: SocketAddr, path: &'static str) -> Self {
        let mut events = Events::open(address, path, None).await;
        events.positioned().await;
        let (sender, told) = watch::channel(BTreeSet::new());
        let task = tokio::spawn(async move {
            loop {
                let Some(event) = events.next().await else {
                    let last = events.last_id().map(str::to_owned);
                    events = Events::open(address, path, last.as_deref()).await;
                    continue;
                };
                let data: Value = serde_json::from_str(&event.data).expect("an event in JSON");
                let id = data["orderId"].as_str().or(data["order_id"].as_str());
                if let Some(id) = id.filter(|id| id.starts_with(BEHIND))
                    && data["status"] == "CONFIRMED"
                {
                    sender.send_modify(|told| {
                        told.insert(id.to_owned());
                    });
                }
            }
        });
        Self { told, task }
    }

    /// Waits until it has told of all these orders, and ends.
    async fn tells_of(mut self, orders: &BTreeSet<String>) {
        let all = self.told.wait_for(|told| told.is_superset(orders));
        let told = timeout(PATIENCE, all).await;
        let told = told.expect("told in time").expect("events come").len();
        assert_eq!(told, orders.len());
        self.task.abort();
    }
}

/// Waits until the order view has these orders confirmed.
async fn viewed(shop: &Shop, orders: &BTreeSet<String>) {
    let address = shop.producers[0].address;
    for id in orders {
        let path = format!("/api/orders/{id}");
        eventually(PATIENCE, || async {
            let answer = http::get(address, &path).await;
            let confirmed = answer.body.contains(r#""status":"CONFIRMED""#);
            (answer.status == 200 && confirmed).then_some(())
        })
        .await;
    }
}

async fn settled(mut shop: Shop, plan: &LoadPlan, load: Load) -> (Shop, History, Verdict) {
    load.enough();
    let (history, verdict) = shop.settle(plan, load).await;
    verdict.assert_clean();
    (shop, history, verdict)
}

/// There is one dead letter of a record, of the group that owns its topic's letters.
#[track_caller]
fn expect_letter(history: &History, place: &Place, reader: Group) {
    let letters = history.letters.iter();
    let groups: Vec<_> = letters
        .filter(|letter| letter.event.of == *place)
        .map(|letter| letter.event.group)
        .collect();
    assert_eq!(groups, [reader], "of {place}");
}
