//! Every public future dropped at each of its awaits: nothing is lost, nothing is stuck, and the next
//! call works.

#[path = "support/consumer.rs"]
mod support;

use std::collections::BTreeMap;
use std::future::pending;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use kafka::{
    Admin, Error, NewTopic, OffsetAt, OutgoingRecord, ProduceError, Producer, ReaderEvent,
    TopicPartition,
};
use support::{PATIENCE, Scripted, World, client};
use testkit::{dropped_at_every_await, polled, unique};

fn record<'a>(topic: &'a str, value: &'a [u8]) -> OutgoingRecord<'a> {
    OutgoingRecord {
        topic,
        partition: Some(0),
        key: Some(b"k"),
        value: Some(value),
        headers: &[],
        timestamp: None,
    }
}

/// How often each value lies in the topic.
async fn counted(world: &World, expected: usize) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for record in world.read(&world.topic, expected).await {
        let value = record.value.as_deref().expect("a value").to_vec();
        *counts
            .entry(String::from_utf8(value).expect("text"))
            .or_default() += 1;
    }
    counts
}

async fn bounded<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} is stuck"),
    }
}

/// A producer whose connections and metadata nobody has opened yet.
fn fresh(world: &World) -> Producer {
    client(&world.kafka, |_| {})
        .producer()
        .build()
        .expect("a good configuration")
}

#[tokio::test]
async fn send_is_delivered_once_it_was_polled_and_else_not_sent() {
    let world = World::new(1).await;
    let producer = fresh(&world);
    let mut last = 0;
    dropped_at_every_await(
        |polls| {
            last = polls;
            let (producer, topic) = (producer.clone(), world.topic.clone());
            async move {
                let value = polls.to_string();
                producer.send(&record(&topic, value.as_bytes())).await
            }
        },
        async |_| bounded("flush", producer.flush()).await.expect("delivered"),
    )
    .await
    .expect("delivered");
    assert_eq!(producer.stats().buffered_bytes, 0);
    let once = (1..=last).map(|polls| (polls.to_string(), 1)).collect();
    assert_eq!(counted(&world, last).await, once);
}

#[tokio::test]
async fn send_that_waits_for_room_gives_up_its_place() {
    let world = World::new(1).await;
    let missing = unique("not-yet");
    let producer = client(&world.kafka, |_| {})
        .producer()
        .buffer_memory(4096)
        .build()
        .expect("a good configuration");
    // Waits for its topic, and holds most of the memory meanwhile.
    let large = [b'x'; 3500];
    let held = producer
        .enqueue(&record(&missing, &large))
        .expect("room for one");
    let too_much = record(&world.topic, &large);
    for polls in 0..20 {
        let waiting = producer.send(&too_much);
        let sent = polled(1 + polls % 3, waiting).now_or_never().flatten();
        assert!(sent.is_none(), "there is no room");
    }
    // Nobody is in line in front of what fits.
    let fits = record(&world.topic, b"fits");
    bounded("a record that fits", producer.send(&fits))
        .await
        .expect("delivered");
    world.kafka.create_topic(&missing, 1).await;
    bounded("the record of a new topic", held)
        .await
        .expect("delivered");
    assert_eq!(producer.stats().buffered_bytes, 0);
    assert_eq!(counted(&world, 1).await, [("fits".to_owned(), 1)].into());
}

#[tokio::test]
async fn deliveries_and_flushes_may_be_dropped_anywhere() {
    let world = World::new(1).await;
    let producer = fresh(&world);
    let enqueue = |value: &str| {
        producer
            .enqueue(&record(&world.topic, value.as_bytes()))
            .expect("room")
    };
    let mut sent = 0;
    let mut next = || {
        sent += 1;
        enqueue(&sent.to_string())
    };
    dropped_at_every_await(|_| next(), async |_| ())
        .await
        .expect("delivered");
    dropped_at_every_await(
        |_| {
            drop(next());
            producer.flush()
        },
        async |_| bounded("flush", producer.flush()).await.expect("delivered"),
    )
    .await
    .expect("delivered");
    let once = (1..=sent).map(|value| (value.to_string(), 1)).collect();
    assert_eq!(counted(&world, sent).await, once);
}

#[tokio::test]
async fn close_dropped_anywhere_delivers_and_can_be_called_again() {
    let world = World::new(1).await;
    let mut producer = fresh(&world);
    let mut last = 0;
    let close = |producer: Producer| async move { producer.close(PATIENCE).await };
    for polls in 0.. {
        last = polls;
        producer = fresh(&world);
        let value = polls.to_string();
        drop(
            producer
                .enqueue(&record(&world.topic, value.as_bytes()))
                .expect("room"),
        );
        if let Some(closed) = polled(polls, close(producer.clone())).await {
            closed.expect("delivered");
            break;
        }
        let refused = producer.enqueue(&record(&world.topic, b"late"));
        // The one record too many is delivered like the others.
        assert_eq!(polls > 0, refused.is_err(), "closed from the first poll on");
        drop(refused);
        bounded("closing again", close(producer.clone()))
            .await
            .expect("delivered");
    }
    assert!(matches!(
        producer.enqueue(&record(&world.topic, b"late")),
        Err(ProduceError::Closed { .. })
    ));
    let mut counts = counted(&world, last + 2).await;
    assert_eq!(counts.remove("late"), Some(1));
    let once = (0..=last).map(|polls| (polls.to_string(), 1)).collect();
    assert_eq!(counts, once);
}

#[tokio::test]
async fn ready_may_be_dropped_anywhere() {
    let world = World::new(1).await;
    // Of one client, and of a new one each time, which has to connect.
    for shared in [Some(client(&world.kafka, |_| {})), None] {
        let make = || {
            shared
                .clone()
                .unwrap_or_else(|| client(&world.kafka, |_| {}))
        };
        for polls in 0.. {
            let client = make();
            let done = polled(polls, client.ready()).await;
            bounded("ready", client.ready()).await.expect("an answer");
            if done.is_some() {
                break;
            }
        }
    }
}

type Call = Box<dyn for<'a> Fn(&'a Admin) -> BoxFuture<'a, Result<(), Error>>>;

fn calls(world: &World) -> Vec<(&'static str, Call)> {
    fn call<F>(name: &'static str, make: F) -> (&'static str, Call)
    where
        F: for<'a> Fn(&'a Admin) -> BoxFuture<'a, Result<(), Error>> + 'static,
    {
        (name, Box::new(make))
    }
    let topic = || world.topic.clone();
    let group = || world.group.clone();
    let partition = TopicPartition::new(world.topic.as_str(), 0);
    let (t1, t2, t3, t4, g1, g2, g3, g4) = (
        topic(),
        topic(),
        topic(),
        topic(),
        group(),
        group(),
        group(),
        unique("none"),
    );
    let (created, gone) = (unique("created"), unique("gone"));
    vec![
        call("topics", |admin| {
            async move { admin.topics().await.map(drop) }.boxed()
        }),
        call("describe_topics", move |admin| {
            let name = t1.clone();
            async move { admin.describe_topics(&[&name]).await.map(drop) }.boxed()
        }),
        call("create_topics", move |admin| {
            let new = [NewTopic::new(&created, 2, 1)];
            async move { admin.create_topics(&new).await.map(drop) }.boxed()
        }),
        call("create_partitions", move |admin| {
            let name = t2.clone();
            async move { admin.create_partitions(&name, 3).await }.boxed()
        }),
        call("delete_topics", move |admin| {
            let name = gone.clone();
            async move { admin.delete_topics(&[&name]).await }.boxed()
        }),
        call("offsets", move |admin| {
            let partition = partition.clone();
            async move {
                admin
                    .offsets(&[partition], OffsetAt::Latest)
                    .await
                    .map(drop)
            }
            .boxed()
        }),
        call("read_record", move |admin| {
            let name = t3.clone();
            async move { admin.read_record(&name, 0, 0).await.map(drop) }.boxed()
        }),
        call("new_producer_id", |admin| {
            async move { admin.new_producer_id().await.map(drop) }.boxed()
        }),
        call("describe_topic_configs", move |admin| {
            let name = t4.clone();
            async move { admin.describe_topic_configs(&name).await.map(drop) }.boxed()
        }),
        call("describe_broker_configs", |admin| {
            async move { admin.describe_broker_configs(1).await.map(drop) }.boxed()
        }),
        call("list_groups", |admin| {
            async move { admin.list_groups().await.map(drop) }.boxed()
        }),
        call("describe_groups", move |admin| {
            let name = g1.clone();
            async move { admin.describe_groups(&[&name]).await.map(drop) }.boxed()
        }),
        call("committed_offsets", move |admin| {
            let name = g2.clone();
            async move { admin.committed_offsets(&name).await.map(drop) }.boxed()
        }),
        call("group_lag", move |admin| {
            let name = g3.clone();
            async move { admin.group_lag(&name).await.map(drop) }.boxed()
        }),
        call("delete_groups", move |admin| {
            let name = g4.clone();
            async move { admin.delete_groups(&[&name]).await }.boxed()
        }),
    ]
}

#[tokio::test]
async fn every_call_of_administration_may_be_dropped_anywhere() {
    let world = World::new(1).await;
    world.send(0, "k", "v").await;
    world.commit(0, 1).await;
    for (name, call) in calls(&world) {
        for polls in 0..500 {
            let admin = client(&world.kafka, |_| {}).admin().with_timeout(PATIENCE);
            let done = polled(polls, call(&admin)).await;
            // On the connections that the dropped call has left behind.
            bounded(name, call(&admin))
                .await
                .unwrap_or_else(|error| panic!("{name} after {polls} polls: {error}"));
            if let Some(done) = done {
                done.unwrap_or_else(|error| panic!("{name}: {error}"));
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_reader_loses_nothing_when_its_futures_are_dropped() {
    let world = World::new(2).await;
    let mut reader = world
        .client
        .reader()
        .topics([&world.topic])
        .build()
        .expect("a good configuration");
    for polls in 0.. {
        if polled(polls, reader.positioned()).await.is_some() {
            break;
        }
    }
    for partition in 0..2 {
        world.send_all(partition, 0..700, |n| n.to_string()).await;
    }
    let mut next = [0, 0];
    let mut polls = 0;
    while next.iter().sum::<i64>() < 1400 {
        polls = (polls + 1) % 4;
        let event = bounded("reading", polled(polls, reader.next_batch())).await;
        let Some(event) = event else { continue };
        let ReaderEvent::Records(records) = event else {
            panic!("{event:?}");
        };
        for record in records {
            let next = &mut next[record.partition as usize];
            assert_eq!(record.offset, *next, "in order, once each");
            *next += 1;
        }
    }
    assert_eq!(next, [700, 700]);
    assert!(reader.is_caught_up());
}

#[tokio::test]
async fn a_consumer_loses_nothing_when_its_run_is_dropped_anywhere() {
    let world = World::new(1).await;
    world.send_all(0, 0..50, |n| n.to_string()).await;
    let handler = Scripted::done();
    let consumer = || {
        world
            .consumer()
            .build(handler.clone())
            .expect("a good configuration")
    };
    let handled = || {
        let calls = handler.calls();
        (0..50)
            .take_while(|offset| calls.iter().any(|call| call.offset == *offset))
            .count() as i64
    };
    for polls in 0..40 {
        let _ = bounded("a consumer", polled(polls, consumer().run(pending()))).await;
        let committed = world.committed().await;
        let committed = committed.get(&0).map_or(0, |(offset, _)| *offset);
        assert!(
            committed <= handled(),
            "{committed} committed, {} handled",
            handled()
        );
    }
    let all = handler.until("all records", |calls| {
        (0..50).all(|offset| calls.iter().any(|call| call.offset == offset))
    });
    let report = bounded(
        "a consumer that is left alone",
        consumer().run(all.map(drop)),
    )
    .await
    .expect("a good end");
    assert!(report.is_clean());
    assert_eq!(world.committed().await[&0].0, 50);
}
