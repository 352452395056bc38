//! Dead letters replayed by operators whose commands are killed, stand still and compete.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use kafka::{ConsumerRecord, OutgoingRecord, Producer};
use proto::dead_letter::{self, Place};
use testkit::eventually;

use crate::checker::Verdict;
use crate::gather;
use crate::load::{self, LoadPlan};
use crate::process::Process;
use crate::run::Run;
use crate::shop::{Shop, Stage};

/// How long letters may take to be written.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest life of a command that is killed: most die within the replay, some before.
const LIFE_MILLIS: u64 = 1_500;

/// Longest time between two disturbances of commands that compete, and of standing still.
const PAUSE_MILLIS: u64 = 500;

/// Orders a second meanwhile.
const RATE: u64 = 250;

/// Commands killed, or disturbed, for each round of the run.
const KILLS_A_ROUND: u64 = 4;
const DISTURBANCES_A_ROUND: u64 = 6;

/// Orders that an earlier version could not read, and records that nobody can.
const GOOD_LETTERS: u64 = 200;
const BAD_LETTERS: usize = 10;

/// Letters that operators compete for, in each round.
const LETTERS_A_ROUND: u64 = 100;

/// `dlt replay --all` is killed at any point and started again: every letter is replayed once, what
/// fails again is a letter again, and its replay a replay of a replay.
pub async fn killed(run: Run) -> Verdict {
    let shop = Shop::open(Stage::any().await).await;
    let plan = plan(&run);
    let mut load = shop.load(plan.clone());
    let desk = Desk::new(&shop, &plan);
    for number in 0..BAD_LETTERS {
        desk.send(&shop.names.orders, &format!("{number} is no order"), &[])
            .await;
    }
    for number in 0..GOOD_LETTERS {
        desk.good_letter(number).await;
    }
    desk.until_letters(GOOD_LETTERS as usize + BAD_LETTERS)
        .await;

    let mut random = run.random();
    let mut command = desk.replay("operator");
    for _ in 0..run.rounds * KILLS_A_ROUND {
        tokio::time::sleep(Duration::from_millis(random.u64(..LIFE_MILLIS))).await;
        command.kill();
        command.start_again();
    }
    expect_success(&mut command).await;
    // Those of the last replays come while it ran, or after.
    desk.until_letters(GOOD_LETTERS as usize + 2 * BAD_LETTERS)
        .await;
    command.start_again();
    expect_success(&mut command).await;

    let records = desk.records().await;
    let replays = replayed_once(&records);
    each_is_one_order(&desk, &records, GOOD_LETTERS);
    let letters: Vec<_> = records.iter().filter_map(letter).collect();
    let replayed: HashSet<_> = replays.values().collect();
    let again = letters
        .iter()
        .filter(|(place, source)| replayed.contains(source) && replays.contains_key(place));
    assert!(again.count() >= BAD_LETTERS, "replays of replays");
    load.reached(run.orders).await;
    settled(shop, &plan, load).await
}

/// Two operators replay the same letters at the same moment, while one command or the other is
/// killed and started again, or stands still for a while: every letter is replayed once.
pub async fn competing(run: Run) -> Verdict {
    let shop = Shop::open(Stage::any().await).await;
    let plan = plan(&run);
    let mut load = shop.load(plan.clone());
    let desk = Desk::new(&shop, &plan);
    let mut random = run.random();
    let mut letters = 0;
    for (round, moment) in run.moments().into_iter().enumerate() {
        load.reached(moment).await;
        for _ in 0..LETTERS_A_ROUND {
            desk.good_letter(letters).await;
            letters += 1;
        }
        let mut operators = ["one", "another"].map(|name| desk.replay(&format!("{name}-{round}")));
        for _ in 0..DISTURBANCES_A_ROUND {
            let operator = &mut operators[random.usize(..2)];
            pause(&mut random).await;
            if random.bool() {
                operator.kill();
                operator.start_again();
            } else {
                operator.freeze();
                pause(&mut random).await;
                operator.thaw();
            }
        }
        for operator in &mut operators {
            expect_success(operator).await;
        }
    }
    let records = desk.records().await;
    assert_eq!(replayed_once(&records).len() as u64, letters);
    each_is_one_order(&desk, &records, letters);
    load.reached(run.orders).await;
    settled(shop, &plan, load).await
}

fn plan(run: &Run) -> LoadPlan {
    LoadPlan {
        rate: Some(RATE),
        ..run.steady_plan()
    }
}

async fn pause(random: &mut fastrand::Rng) {
    tokio::time::sleep(Duration::from_millis(random.u64(..PAUSE_MILLIS))).await;
}

async fn settled(mut shop: Shop, plan: &LoadPlan, load: load::Load) -> Verdict {
    load.enough();
    let (_, verdict) = shop.settle(plan, load).await;
    verdict.assert_clean();
    verdict
}

/// Where each letter's replay lies, of which there is one.
#[track_caller]
fn replayed_once(records: &[ConsumerRecord]) -> HashMap<Place, Place> {
    let replays = replays(records);
    let twice: Vec<_> = replays.iter().filter(|(_, at)| at.len() > 1).collect();
    assert!(twice.is_empty(), "replayed more than once: {twice:?}");
    let one = |(letter, mut at): (_, Vec<_>)| at.pop().map(|at| (letter, at));
    replays.into_iter().filter_map(one).collect()
}

/// Each good letter's order lies in its topic once.
#[track_caller]
fn each_is_one_order(desk: &Desk<'_>, records: &[ConsumerRecord], letters: u64) {
    let orders = &desk.shop.names.orders;
    for number in 0..letters {
        let key = format!("letter-{number}");
        let of = records
            .iter()
            .filter(|r| r.key.as_deref() == Some(key.as_bytes()) && *r.topic == **orders);
        assert_eq!(of.count(), 1, "{key} is one order");
    }
}

async fn expect_success(command: &mut Process) {
    let status = command.ended().await;
    assert!(status.success(), "{status}: {}", command.output());
}

/// Where each letter's replays lie.
fn replays(records: &[ConsumerRecord]) -> HashMap<Place, Vec<Place>> {
    let mut replays: HashMap<_, Vec<_>> = HashMap::new();
    for record in records.iter().filter(|r| r.value.is_some()) {
        if record.headers.get(dead_letter::ORIGINAL_TOPIC).is_none()
            && let Some(of) = record.headers.get_str(dead_letter::REPLAY_OF)
        {
            let of = Place::parse(of).expect("a place");
            replays.entry(of).or_default().push(place(record));
        }
    }
    replays
}

/// Where a letter lies, and where its record does.
fn letter(record: &ConsumerRecord) -> Option<(Place, Place)> {
    let header = |name| record.headers.get_str(name);
    let source = Place {
        topic: header(dead_letter::ORIGINAL_TOPIC)?.to_owned(),
        partition: header(dead_letter::ORIGINAL_PARTITION)?.parse().ok()?,
        offset: header(dead_letter::ORIGINAL_OFFSET)?.parse().ok()?,
    };
    Some((place(record), source))
}

fn place(record: &ConsumerRecord) -> Place {
    Place {
        topic: record.topic.to_string(),
        partition: record.partition,
        offset: record.offset,
    }
}

/// The letters of a shop's orders.
struct Desk<'a> {
    shop: &'a Shop,
    producer: Producer,
    letters: String,
    /// Whose notifications are looked at.
    user: String,
}

impl<'a> Desk<'a> {
    fn new(shop: &'a Shop, plan: &LoadPlan) -> Self {
        let orders = &shop.names.orders;
        Self {
            shop,
            producer: shop.client.producer().build().expect("a producer"),
            letters: format!("{orders}{}", proto::topics::DEAD_LETTER_SUFFIX),
            user: load::users(&plan.prefix, 1).next().expect("a user"),
        }
    }

    /// `consumer-svc dlt replay --all`, started in a folder of its operator's.
    fn replay(&self, operator: &str) -> Process {
        let arguments = [
            "dlt".to_owned(),
            "replay".to_owned(),
            "--all".to_owned(),
            format!("--topic={}", self.letters),
            format!("--kafka-bootstrap-servers={}", self.shop.stage.bootstrap()),
            // A busy machine may stand still for longer than operators want to wait.
            "--request-timeout=60s".to_owned(),
        ];
        let folder = self.shop.folder().join(operator);
        Process::start("consumer-svc", "dlt", &folder, &arguments)
    }

    /// The letter of an order that is good after all.
    async fn good_letter(&self, number: u64) {
        let user = &self.user;
        let id = format!("letter-{number}");
        let value =
            format!(r#"{{"orderId":"{id}","product":"Laptop","quantity":1,"userId":"{user}"}}"#);
        let headers = [
            (dead_letter::ORIGINAL_TOPIC, &*self.shop.names.orders),
            (dead_letter::ORIGINAL_PARTITION, "0"),
            (dead_letter::ORIGINAL_OFFSET, "0"),
            (dead_letter::CONSUMER_GROUP, &*self.shop.names.processing),
            (dead_letter::REASON, "an earlier version could not read it"),
            (dead_letter::ATTEMPTS, "1"),
            (dead_letter::TIME, "2026-01-02T03:04:05Z"),
        ];
        let headers = headers.map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())));
        let record = OutgoingRecord {
            topic: &self.letters,
            partition: Some(0),
            key: Some(id.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &headers,
            ..OutgoingRecord::default()
        };
        self.producer.send(&record).await.expect("it is taken");
    }

    async fn send(&self, topic: &str, value: &str, headers: &[(&[u8], Option<&[u8]>)]) {
        let record = OutgoingRecord {
            topic,
            key: Some(value.as_bytes()),
            value: Some(value.as_bytes()),
            headers,
            ..OutgoingRecord::default()
        };
        self.producer.send(&record).await.expect("it is taken");
    }

    /// Waits for so many letters at least.
    async fn until_letters(&self, number: usize) {
        eventually(PATIENCE, || async {
            let letters = self.records().await.iter().filter_map(letter).count();
            (letters >= number).then_some(())
        })
        .await;
    }

    /// All records of the topic of orders and of its letters.
    async fn records(&self) -> Vec<ConsumerRecord> {
        let mut records = Vec::new();
        let topics = [self.shop.names.orders.clone(), self.letters.clone()];
        let note = |record: &ConsumerRecord| records.push(record.clone());
        gather::each_record(&self.shop.client, &topics, note).await;
        records
    }
}
