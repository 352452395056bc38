//! Topics that are deleted and created again while a producer and a consumer use them.

#[path = "support/consumer.rs"]
mod support;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka::{
    Admin, AutoOffsetReset, Client, ConsumerError, NewPartition, NewTopic, Outcome, OutgoingRecord,
    PartitionListener, ProduceError, ReaderEvent, ResponseError, Start, StartAt, TopicId,
    TopicPartition,
};
use kafka_protocol::messages::ApiKey;
use support::{PATIENCE, Running, Scripted, World, client};

const BEFORE: i32 = 6;
const AFTER: i32 = 2;

fn record<'a>(topic: &'a str, key: &'a str) -> OutgoingRecord<'a> {
    OutgoingRecord {
        topic,
        key: Some(key.as_bytes()),
        value: Some(b"value"),
        ..Default::default()
    }
}

/// Deletes it and returns once no broker knows it any more.
async fn delete(admin: &Admin, topic: &str) {
    admin.delete_topics(&[topic]).await.expect("it is deleted");
    testkit::eventually(PATIENCE, async || {
        let described = admin.describe_topics(&[topic]).await;
        described.is_ok_and(|found| found.is_empty()).then_some(())
    })
    .await;
}

/// To partition 0, with keys of their own.
async fn send(world: &World, count: usize, value: &str) {
    for number in 0..count {
        world.send(0, &number.to_string(), value).await;
    }
}

async fn create(admin: &Admin, topic: &str, partitions: i32) {
    let wanted = NewTopic::new(topic, partitions, 1);
    admin.create_topics(&[wanted]).await.expect("it is created");
}

#[tokio::test]
async fn with_fewer_partitions_records_are_placed_among_those_that_there_are() {
    let world = World::new(BEFORE).await;
    let admin = world.client.admin();
    for partition in 0..BEFORE {
        world.send(partition, "key", "before").await;
    }
    delete(&admin, &world.topic).await;
    // Placed by what is known: the one in a partition that will be gone, the other in one that stays.
    let on = |partition| OutgoingRecord {
        partition: Some(partition),
        ..record(&world.topic, "key")
    };
    let lost = world.producer.enqueue(&on(BEFORE - 1)).expect("room");
    let kept = world.producer.enqueue(&on(0)).expect("room");
    create(&admin, &world.topic, AFTER).await;

    let error = tokio::time::timeout(PATIENCE, lost).await;
    let error = error.expect("long before its deadline").unwrap_err();
    match &error {
        ProduceError::PartitionGone {
            topic,
            partition,
            count,
        } => assert_eq!((&**topic, *partition, *count), (&*world.topic, 5, AFTER)),
        other => panic!("{other:?}"),
    }
    assert!(error.is_retriable() && !error.may_be_written());
    let text = error.to_string();
    assert!(text.contains(&format!("{}-5", world.topic)), "{text}");
    assert_eq!(kept.await.expect("it is taken").offset, 0);

    let mut partitions = HashSet::new();
    for number in 0..20 {
        let key = number.to_string();
        let sent = world.producer.send(&record(&world.topic, &key)).await;
        partitions.insert(sent.expect("it is taken").partition);
    }
    assert_eq!(partitions, HashSet::from([0, 1]));
    match world.producer.send(&on(AFTER)).await {
        Err(ProduceError::UnknownPartition { count: AFTER, .. }) => {}
        other => panic!("{other:?}"),
    }
    let stats = world.producer.stats();
    assert_eq!((stats.failed, stats.acknowledged), (1, 6 + 1 + 20));
}

#[tokio::test]
async fn a_consumer_reads_the_new_one_from_its_start() {
    let world = World::new(1).await;
    let admin = world.client.admin();
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    send(&world, 5, "before").await;
    handler.until_calls(5).await;
    running
        .until("the commit", |stats| {
            stats.partitions.iter().any(|of| of.committed == Some(5))
        })
        .await;
    delete(&admin, &world.topic).await;
    create(&admin, &world.topic, 1).await;
    send(&world, 3, "again").await;
    let calls = handler
        .until("the new records", |calls| {
            calls.iter().filter(|call| call.value() == "again").count() == 3
        })
        .await;
    let of_the_new_one = calls.iter().filter(|call| call.value() == "again");
    let offsets: Vec<_> = of_the_new_one.map(|call| call.offset).collect();
    assert_eq!(offsets, [0, 1, 2]);
    tokio::time::timeout(Duration::from_secs(60), running.stop())
        .await
        .expect("it ends");
}

/// A client that the broker's faults can tell from others.
fn behind(world: &World) -> Client {
    client(&world.kafka, |config| config.client_id = BEHIND.to_owned())
}

const BEHIND: &str = "behind";

/// The offsets of the records that were sent after the topic was created again, once there are three.
async fn three_of_the_new_one(handler: &Scripted) -> Vec<i64> {
    let of_the_new_one = |call: &&support::Seen| call.value() == "again";
    let calls = handler
        .until("the new records", |calls| {
            calls.iter().filter(of_the_new_one).count() >= 3
        })
        .await;
    calls
        .iter()
        .filter(of_the_new_one)
        .map(|call| call.offset)
        .collect()
}

#[tokio::test]
async fn with_latest_a_consumer_reads_what_was_written_before_it_noticed_the_new_one() {
    let world = World::own(1).await;
    let admin = world.client.admin();
    let handler = Scripted::done();
    let consumer = world.consumer_of(&behind(&world));
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Latest);
    let running = Running::start(consumer, handler.clone());
    running.until_assigned(1).await;
    send(&world, 5, "before").await;
    handler.until_calls(5).await;
    // It neither reads nor asks for metadata until the new records are there.
    let on = |api| world.kafka.faults().on(api).client_id(BEHIND).always();
    let blind = on(ApiKey::Metadata).drop_connection();
    let deaf = on(ApiKey::Fetch).error(ResponseError::NotLeaderOrFollower);
    deaf.hit().await;
    blind.hit().await;
    delete(&admin, &world.topic).await;
    create(&admin, &world.topic, 1).await;
    send(&world, 3, "again").await;
    let start = on(ApiKey::ListOffsets).delay(Duration::ZERO);
    blind.clear();
    start.hit().await;
    deaf.clear();
    assert_eq!(three_of_the_new_one(&handler).await, [0, 1, 2]);
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn an_offset_out_of_range_is_not_reset_before_the_leader_has_named_the_topic() {
    let world = World::own(1).await;
    let admin = world.client.admin();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let seen = ids.clone();
    let handler = Scripted::new(move |record| {
        seen.lock().unwrap().push(record.topic_id);
        async { Outcome::Done }
    });
    let running = Running::start(world.consumer_of(&behind(&world)), handler.clone());
    send(&world, 5, "before").await;
    handler.until_calls(5).await;
    // It hears nothing but that offset 5 is out of range.
    let on = |api| world.kafka.faults().on(api).client_id(BEHIND).always();
    let blind = on(ApiKey::Metadata).drop_connection();
    let beyond = on(ApiKey::Fetch).error(ResponseError::OffsetOutOfRange);
    // The second of these is what is made of the first one's answer.
    beyond.hit_times(2).await;
    beyond.clear();
    // It goes on asking for that offset.
    on(ApiKey::Fetch).delay(Duration::ZERO).hit_times(2).await;
    delete(&admin, &world.topic).await;
    create(&admin, &world.topic, 1).await;
    send(&world, 3, "again").await;
    blind.clear();
    assert_eq!(three_of_the_new_one(&handler).await, [0, 1, 2]);
    assert!(running.stop().await.is_clean());
    let described = admin.describe_topics(&[&world.topic]).await.unwrap();
    let ids = ids.lock().unwrap().clone();
    assert_eq!(ids.len(), 5 + 3, "each record once");
    assert!(ids[..5].iter().all(|id| *id == ids[0] && id.is_some()));
    assert_eq!(ids[5..], [described[0].id; 3]);
    assert_ne!(ids[0], described[0].id);
}

#[tokio::test]
async fn with_latest_a_consumer_that_noticed_the_end_of_the_old_one_reads_all_of_the_new_one() {
    let world = World::new(1).await;
    let admin = world.client.admin();
    let handler = Scripted::done();
    let consumer = world.consumer_of(&behind(&world));
    let consumer = consumer.auto_offset_reset(AutoOffsetReset::Latest);
    let running = Running::start(consumer, handler.clone());
    running.until_assigned(1).await;
    world.send(0, "key", "before").await;
    handler.until_calls(1).await;
    delete(&admin, &world.topic).await;
    running
        .until("the end of the old one", |stats| {
            stats.partitions.is_empty()
        })
        .await;
    // It does not know of the new one until the records are there. (Apache Kafka cannot be told to be silent; there
    // the consumer asks every five seconds.)
    let blind = world.kafka.broker().map(|broker| {
        let metadata = broker.faults().on(ApiKey::Metadata).client_id(BEHIND);
        metadata.always().drop_connection()
    });
    create(&admin, &world.topic, 1).await;
    send(&world, 3, "again").await;
    if let Some(blind) = blind {
        blind.clear();
    }
    assert_eq!(three_of_the_new_one(&handler).await, [0, 1, 2]);
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn without_a_policy_a_consumer_ends_with_an_error_when_its_topic_is_created_again() {
    let world = World::new(1).await;
    let admin = world.client.admin();
    world.commit(0, 0).await;
    let consumer = world.consumer().auto_offset_reset(AutoOffsetReset::None);
    let handler = Scripted::done();
    let running = Running::start(consumer, handler.clone());
    world.send(0, "key", "before").await;
    handler.until_calls(1).await;
    delete(&admin, &world.topic).await;
    create(&admin, &world.topic, 1).await;
    match running.ended().await {
        Err(
            ConsumerError::OutOfRange { partition, .. } | ConsumerError::NoOffset { partition, .. },
        ) => assert_eq!(*partition.topic, *world.topic),
        other => panic!("{other:?}"),
    }
}

/// It has been told nothing, and its next offset lies in the middle of the new one.
#[tokio::test]
async fn a_consumer_that_has_not_heard_of_the_new_one_misses_nothing_of_it() {
    let world = World::own(1).await;
    let admin = world.client.admin();
    let handler = Scripted::done();
    let running = Running::start(world.consumer_of(&behind(&world)), handler.clone());
    send(&world, 5, "before").await;
    handler.until_calls(5).await;
    let on = |api| world.kafka.faults().on(api).client_id(BEHIND).always();
    let untold = on(ApiKey::Metadata).drop_connection();
    let unasked = on(ApiKey::Fetch).drop_connection();
    delete(&admin, &world.topic).await;
    create(&admin, &world.topic, 1).await;
    send(&world, 10, "again").await;
    unasked.clear();
    // The second one goes out after the first one's answer.
    let asked = on(ApiKey::Fetch).delay(Duration::ZERO);
    let twice = tokio::time::timeout(PATIENCE, asked.hit_times(2)).await;
    twice.expect("it asks for records");
    untold.clear();
    let calls = handler.until_calls(15).await;
    let offsets: Vec<_> = calls.iter().map(|call| call.offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    running.stop().await;
}

/// What an application that keeps its own offsets does: it keeps the topic's id with them.
#[derive(Clone, Default)]
struct Keeper {
    kept: Arc<Mutex<Option<(TopicId, i64)>>>,
    /// What it was told of each time.
    told: Arc<Mutex<Vec<Option<TopicId>>>>,
}

impl PartitionListener for Keeper {
    async fn assigned(&self, new: &NewPartition) -> Result<StartAt, String> {
        self.told.lock().unwrap().push(new.topic_id);
        Ok(match *self.kept.lock().unwrap() {
            Some((id, _)) if TopicId::differ(Some(id), new.topic_id) => StartAt::First,
            Some((_, offset)) => StartAt::Offset {
                offset,
                leader_epoch: None,
            },
            None => StartAt::Commit,
        })
    }
}

impl Keeper {
    fn handler(&self) -> Scripted {
        let kept = self.kept.clone();
        Scripted::new(move |record| {
            let id = record.topic_id.expect("both brokers have ids");
            *kept.lock().unwrap() = Some((id, record.offset + 1));
            async { Outcome::Done }
        })
    }
}

#[tokio::test]
async fn an_application_knows_by_the_id_that_its_offset_is_of_another_topic() {
    let world = World::new(1).await;
    let admin = world.client.admin();
    let keeper = Keeper::default();
    let handler = keeper.handler();
    let consumer = || {
        let consumer = world.consumer().listener(keeper.clone());
        consumer.auto_offset_reset(AutoOffsetReset::Latest)
    };
    let running = Running::start(consumer(), handler.clone());
    running.until_assigned(1).await;
    running
        .until("the start", |stats| {
            stats.partitions.iter().any(|of| of.committed == Some(0))
        })
        .await;
    send(&world, 2, "before").await;
    handler.until_calls(2).await;
    running.stop().await;

    // More than was read of the old one: its next offset lies in the middle of the new one.
    delete(&admin, &world.topic).await;
    create(&admin, &world.topic, 1).await;
    send(&world, 5, "again").await;
    let handler = keeper.handler();
    let running = Running::start(consumer(), handler.clone());
    let calls = handler.until_calls(5).await;
    let offsets: Vec<_> = calls.iter().map(|call| call.offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    running.stop().await;
    let told = keeper.told.lock().unwrap().clone();
    assert_eq!(told.len(), 2);
    assert!(TopicId::differ(told[0], told[1]), "{told:?}");
    let described = admin.describe_topics(&[&world.topic]).await.unwrap();
    assert_eq!(described[0].id, told[1]);
}

#[tokio::test]
async fn a_reader_is_told_that_its_offsets_are_of_another_topic() {
    let world = World::new(2).await;
    for partition in 0..2 {
        for number in 0..3 {
            let key = number.to_string();
            world.send(partition, &key, "there").await;
        }
    }
    let topic: Arc<str> = world.topic.as_str().into();
    let offsets = [(TopicPartition::new(topic.clone(), 0), 2)];
    let mut reader = world
        .client
        .reader()
        .topics([&topic])
        .from(Start::Offsets(offsets.into()))
        .recreated([topic.clone()])
        .build()
        .unwrap();
    let (mut reset, mut records) = (Vec::new(), Vec::new());
    let reading = async {
        while records.len() < 6 {
            match reader.next_batch().await {
                ReaderEvent::Records(more) => records.extend(more),
                ReaderEvent::Reset {
                    partition,
                    asked,
                    resumed,
                } => reset.push((partition.partition, asked, resumed)),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("all");
    assert_eq!(reset, [(0, 2, 0)]);
    assert!(reader.topic_id(&topic).is_some());
    assert!(
        records
            .iter()
            .all(|record| record.topic_id == reader.topic_id(&topic))
    );
}
