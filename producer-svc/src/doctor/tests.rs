//! The report of each kind of findings, by table.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{CommittedOffset, GroupDescription, GroupMember, TopicId, TopicPartition};
use proto::dead_letter::Place;
use service::outbox;

use super::findings::{Asked, Cart, Findings, Foreign, Letter, Letters, Readiness, Record, There};
use super::report::{Report, State, Verdict, report};

const NOW: i64 = 1_780_000_000_000;
const HOUR: i64 = 3_600_000;

/// The event lies at offset 42 of partition 0, where its key belongs, everybody is there, and the cart is missing for no
/// reason that can be seen.
fn findings() -> Findings {
    Findings {
        user_id: 1,
        asked: Asked {
            at: NOW,
            users_topic: "users.events".into(),
            dead_letter_topic: "users.events-dlt".into(),
            group: "cart-service".into(),
            cart_service: "http://carts:5003".into(),
            outbox_retention: Duration::from_secs(7 * 86_400),
        },
        user: Ok(Some(NOW - HOUR)),
        event: Ok(Some(published(Some(42)))),
        foreign: Ok(None),
        topic: Ok(Some(3)),
        topic_id: TopicId::from_u128(1),
        record: Ok(Record {
            there: Some(There::Event),
            begin: 0,
            end: 50,
        }),
        group: Ok(group("Stable", &[0])),
        committed: Ok(committed(50, "")),
        letter: Ok(Letters::None),
        cart_service: Ok(Readiness::Told(Vec::new())),
        cart: Ok(Cart::Missing),
    }
}

fn published(offset: Option<i64>) -> outbox::Published {
    outbox::Published {
        id: 7,
        topic: "users.events".into(),
        created_at: NOW - HOUR,
        place: Some(outbox::Place {
            topic_id: TopicId::from_u128(1),
            partition: 0,
            offset,
            published_at: NOW - HOUR,
        }),
    }
}

fn group(state: &str, partitions: &[i32]) -> GroupDescription {
    let assigned = partitions
        .iter()
        .map(|partition| TopicPartition::new("users.events", *partition));
    GroupDescription {
        group: "cart-service".into(),
        state: state.into(),
        coordinator: 1,
        members: vec![GroupMember {
            member_id: "m".into(),
            group_instance_id: None,
            client_id: "consumer-svc".into(),
            client_host: "/10.0.0.7".into(),
            assignment: assigned.collect(),
        }],
        ..GroupDescription::default()
    }
}

fn committed(offset: i64, metadata: &str) -> BTreeMap<i32, CommittedOffset> {
    let committed = CommittedOffset {
        offset,
        leader_epoch: -1,
        metadata: metadata.into(),
    };
    BTreeMap::from([(0, committed)])
}

fn letter(replayed_to: Option<i64>) -> Letters {
    let place = |topic: &str, offset| Place {
        topic: topic.into(),
        partition: 0,
        offset,
    };
    Letters::Found(Letter {
        place: place("users.events-dlt", 3),
        reason: "userId is missing".into(),
        replayed_to: replayed_to.map(|offset| place("users.events", offset)),
    })
}

fn away<T>() -> Result<T, String> {
    Err("connection refused".into())
}

fn kafka_away(f: &mut Findings) {
    f.topic = away();
    f.record = away();
    f.group = away();
    f.committed = away();
    f.letter = away();
}

/// Another system registered the user.
fn of_another_system(f: &mut Findings) {
    f.user = Ok(None);
    f.event = Ok(None);
    f.foreign = Ok(Some(Foreign {
        partition: 0,
        offset: 42,
        time: NOW - HOUR,
    }));
}

#[test]
fn a_user_whom_another_system_registered_is_told_from_no_user() {
    let mut f = findings();
    of_another_system(&mut f);
    let said = report(&f);
    let of = |name: &str| said.stages.iter().find(|stage| stage.name == name).unwrap();
    assert!(
        of("user").seen.contains("registered by another system"),
        "{}",
        of("user").seen
    );
    assert!(of("published").seen.contains("users.events/0/42"));
    // What comes after it is looked at as for a user of ours.
    assert_eq!(
        said.stages
            .iter()
            .filter(|stage| stage.state == State::Failed)
            .count(),
        1
    );
    assert_eq!(of("cart").state, State::Failed);
    f.committed = Ok(committed(40, ""));
    let said = report(&f);
    let handled = said
        .stages
        .iter()
        .find(|stage| stage.name == "handled")
        .unwrap();
    assert_eq!(handled.state, State::Failed);
    // Kafka away: it cannot be told.
    let mut f = findings();
    f.user = Ok(None);
    f.event = Ok(None);
    kafka_away(&mut f);
    f.foreign = away();
    let said = report(&f);
    assert_eq!(said.stages[1].state, State::Unknown);
    assert!(
        said.stages[1].seen.contains("no user 1"),
        "{}",
        said.stages[1].seen
    );
}

/// What is changed of [`findings`], the first stage that fails, and what is said of it.
type Case = (&'static str, fn(&mut Findings), &'static str, &'static str);

const CASES: [Case; 27] = [
    (
        "the topic was created again, and has as many records as before",
        |f| f.topic_id = TopicId::from_u128(2),
        "record",
        "deleted and created again",
    ),
    ("nothing else", |_| (), "cart", "no cart of user 1"),
    (
        "the users' database is away",
        |f| {
            f.user = away();
            f.event = away();
        },
        "users-database",
        "connection refused",
    ),
    (
        "no user",
        |f| {
            f.user = Ok(None);
            f.event = Ok(None);
        },
        "user",
        "no user 1",
    ),
    (
        "no event, too young",
        |f| f.event = Ok(None),
        "event",
        "none is deleted so soon",
    ),
    (
        "the outbox's retention took the event",
        |f| {
            f.user = Ok(Some(NOW - 8 * 24 * HOUR));
            f.event = Ok(None);
        },
        "cart",
        "no cart",
    ),
    ("Kafka is away", kafka_away, "kafka", "does not answer"),
    (
        "Kafka is away, and the event waits",
        |f| {
            kafka_away(f);
            f.event = Ok(Some(outbox::Published {
                place: None,
                ..published(None)
            }));
        },
        "kafka",
        "does not answer",
    ),
    (
        "no topic",
        |f| {
            f.topic = Ok(None);
            f.record = Err("the topic does not exist".into());
        },
        "kafka",
        "users.events does not exist",
    ),
    (
        "not published",
        |f| {
            f.event = Ok(Some(outbox::Published {
                place: None,
                ..published(None)
            }));
        },
        "published",
        "it waits since",
    ),
    (
        "another record there",
        |f| f.record.as_mut().unwrap().there = Some(There::Another),
        "record",
        "another record lies at users.events/0/42",
    ),
    (
        "the log ends before it",
        |f| {
            f.record = Ok(Record {
                there: Some(There::Nothing),
                begin: 0,
                end: 42,
            });
        },
        "record",
        "beyond the partition's end, 42",
    ),
    (
        "deleted, not handled",
        |f| {
            f.record = Ok(Record {
                there: Some(There::Nothing),
                begin: 45,
                end: 50,
            });
            f.committed = Ok(committed(40, ""));
        },
        "record",
        "deleted before it was handled",
    ),
    (
        "deleted, handled",
        |f| {
            f.record = Ok(Record {
                there: Some(There::Nothing),
                begin: 45,
                end: 50,
            });
        },
        "cart",
        "no cart",
    ),
    (
        "consumer-svc is down",
        |f| {
            f.cart_service = away();
            f.cart = away();
        },
        "cart-service",
        "connection refused",
    ),
    (
        "consumer-svc is down, and so its group",
        |f| {
            f.cart_service = away();
            f.cart = away();
            f.group = Ok(GroupDescription {
                members: Vec::new(),
                ..group("Empty", &[])
            });
        },
        "cart-service",
        "connection refused",
    ),
    (
        "an instance without carts",
        |f| f.cart = Ok(Cart::NotKept),
        "cart-service",
        "CARTS=false",
    ),
    (
        "the carts' database is away",
        |f| {
            f.cart_service = Ok(Readiness::Told(vec![("database".into(), "locked".into())]));
            f.cart = away();
            f.committed = Ok(committed(42, ""));
        },
        "carts-database",
        "locked",
    ),
    (
        "no members",
        |f| {
            f.group = Ok(GroupDescription {
                members: Vec::new(),
                ..group("Dead", &[])
            });
        },
        "group",
        "no members (Dead)",
    ),
    (
        "nobody has the partition",
        |f| f.group = Ok(group("Stable", &[1, 2])),
        "group",
        "none of the 1 members",
    ),
    (
        "nothing committed",
        |f| f.committed = Ok(BTreeMap::new()),
        "handled",
        "has committed nothing of users.events/0",
    ),
    (
        "not come to it",
        |f| f.committed = Ok(committed(42, "")),
        "handled",
        "is 42, the event at 42 is not handled",
    ),
    (
        "others beyond the commit are handled, not this one",
        |f| f.committed = Ok(committed(40, "k1;DC")),
        "handled",
        "is 40, the event at 42 is not handled",
    ),
    (
        "handled beyond the commit",
        |f| f.committed = Ok(committed(40, "k1;CB")),
        "cart",
        "no cart",
    ),
    (
        "a dead letter",
        |f| f.letter = Ok(letter(None)),
        "dead-letters",
        "userId is missing (dead letter users.events-dlt/0/3)",
    ),
    (
        "replayed, not handled",
        |f| f.letter = Ok(letter(Some(50))),
        "dead-letters",
        "replayed to users.events/0/50, which is not handled yet",
    ),
    (
        "replayed and handled",
        |f| f.letter = Ok(letter(Some(49))),
        "cart",
        "no cart",
    ),
];

fn state(report: &Report, name: &str) -> State {
    let stage = report.stages.iter().find(|stage| stage.name == name);
    stage.expect("a stage of this name").state
}

#[test]
fn the_first_stage_that_fails_is_named_with_what_to_do() {
    for (case, change, first, said) in CASES {
        let mut findings = findings();
        change(&mut findings);
        let report = report(&findings);
        assert_eq!(report.verdict, Verdict::Failed, "{case}: {report}");
        assert_eq!(report.first_failure, Some(first), "{case}: {report}");
        assert!(report.summary.contains(said), "{case}: {report}");
        assert!(report.advice.is_some(), "{case}: {report}");
        assert_eq!(report.stages.len(), 12);
    }
}

#[test]
fn a_cart_that_is_there_is_the_answer_whoever_is_away() {
    let mut findings = findings();
    kafka_away(&mut findings);
    findings.user = away();
    findings.cart = Ok(Cart::There { id: 5, items: 2 });
    let report = report(&findings);
    assert_eq!(report.verdict, Verdict::There);
    assert_eq!((report.first_failure, &report.advice), (None, &None));
    assert_eq!(report.summary, "User 1 has cart 5.");
    assert_eq!(state(&report, "kafka"), State::Failed);
}

/// After a move to other brokers the event is gone, and sending it once more would do nothing.
#[test]
fn an_event_that_is_gone_asks_for_nothing_where_the_cart_is_there() {
    let gone: [fn(&mut Findings); 3] = [
        |f| f.topic_id = TopicId::from_u128(2),
        |f| f.record.as_mut().unwrap().there = Some(There::Another),
        |f| {
            let record = f.record.as_mut().unwrap();
            record.there = Some(There::Nothing);
            record.end = 0;
        },
    ];
    for is_gone in gone {
        let mut f = findings();
        is_gone(&mut f);
        assert_eq!(state(&report(&f), "record"), State::Failed);
        f.cart = Ok(Cart::There { id: 5, items: 2 });
        let report = report(&f);
        assert_eq!(state(&report, "record"), State::Ok, "{report}");
        assert!(!report.to_string().contains("once more"), "{report}");
        let said = "the cart is there all the same";
        assert!(report.to_string().contains(said), "{report}");
    }
}

#[test]
fn what_cannot_be_told_is_neither_fine_nor_failed() {
    let mut f = findings();
    f.user = Ok(Some(NOW - 8 * 24 * HOUR));
    f.event = Ok(None);
    f.committed = Ok(committed(49, ""));
    let old = report(&f);
    for stage in ["event", "published", "record", "handled"] {
        assert_eq!(state(&old, stage), State::Unknown, "{stage}: {old}");
    }
    assert!(old.to_string().contains("7d (OUTBOX_RETENTION)"), "{old}");
    assert!(old.summary.contains("could not be asked"), "{old}");
    // Whatever its offset was, the group is through with all of the partition.
    f.record.as_mut().unwrap().there = None;
    f.event = Ok(Some(published(None)));
    f.committed = Ok(committed(50, ""));
    assert_eq!(state(&report(&f), "handled"), State::Ok);

    let mut f = findings();
    kafka_away(&mut f);
    let report_without_kafka = report(&f);
    for stage in ["record", "group", "handled", "dead-letters"] {
        assert_eq!(state(&report_without_kafka, stage), State::Unknown);
    }

    let mut f = findings();
    f.group = Ok(group("PreparingRebalance", &[]));
    assert_eq!(state(&report(&f), "group"), State::Unknown);

    let mut f = findings();
    f.cart_service = Ok(Readiness::NotTold(404));
    f.cart = Err("the cart service answers 500".into());
    let foreign = report(&f);
    assert_eq!(
        (foreign.verdict, foreign.first_failure),
        (Verdict::Unknown, None)
    );
    assert_eq!(state(&foreign, "carts-database"), State::Unknown);
}

#[test]
fn what_consumer_svc_says_of_its_consumer_is_passed_on() {
    let mut f = findings();
    f.committed = Ok(committed(42, ""));
    let held = (
        "carts, in part".to_owned(),
        "users.events-2 is held".to_owned(),
    );
    f.cart_service = Ok(Readiness::Told(vec![held]));
    let advice = report(&f).advice.unwrap();
    assert!(advice.contains("users.events-2 is held"), "{advice}");
}

#[test]
fn no_address_is_in_a_report() {
    let mut f = findings();
    let Ok(Letters::Found(mut found)) = Ok::<_, ()>(letter(None)) else {
        unreachable!("made so");
    };
    found.reason = "Unexpected token in {\"email\":\"anna@example.com\"} at 7".into();
    f.letter = Ok(Letters::Found(found));
    f.cart = Err("mail to boris@example.com".into());
    let text = report(&f).to_string();
    assert!(text.contains("Unexpected token in [hidden] at 7"), "{text}");
    assert!(!text.contains("example.com"), "{text}");
}
