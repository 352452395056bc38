//! What a handler's answers do: order, parallelism, retries, dead letters, pauses, panics.

#[path = "support/consumer.rs"]
mod support;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use kafka::{
    ConsumerRecord, ConsumerState, Headers, Outcome, OutgoingRecord, RetryPolicy, dead_letter,
};
use support::{Latch, PATIENCE, Running, Scripted, World};
use tokio::sync::Barrier;

fn quick(max_attempts: u32) -> RetryPolicy {
    RetryPolicy {
        max_attempts,
        backoff: Duration::from_millis(20),
        backoff_max: Duration::from_millis(100),
    }
}

#[tokio::test]
async fn everything_is_handled_in_the_order_of_its_key_and_committed() {
    let world = World::new(3).await;
    for partition in 0..3 {
        world
            .send_all(partition, 0..500, |n| format!("{partition}-{}", n % 7))
            .await;
    }
    let handler = Scripted::new(|record| async move {
        // Some wait and some do not, so that only the lanes keep the order.
        for _ in 0..record.offset % 3 {
            tokio::task::yield_now().await;
        }
        Outcome::Done
    });
    let running = Running::start(world.consumer(), handler.clone());
    let calls = handler.until_calls(1500).await;
    assert!(running.stop().await.is_clean());
    let mut last: HashMap<&str, i64> = HashMap::new();
    for call in &calls {
        let before = last.insert(call.key(), call.offset).unwrap_or(-1);
        assert!(
            before < call.offset,
            "key {}: {before} before {}",
            call.key(),
            call.offset
        );
    }
    assert_eq!(handler.calls().len(), 1500, "each once");
    // The last one handled + 1, and nothing left beyond.
    let committed = world.committed().await;
    assert_eq!(
        committed
            .values()
            .map(|(offset, _)| *offset)
            .collect::<Vec<_>>(),
        [500, 500, 500]
    );
}

#[tokio::test]
async fn different_keys_run_at_the_same_time_and_one_key_does_not() {
    let world = World::new(1).await;
    world.send_all(0, 0..20, |n| format!("key-{}", n % 5)).await;
    // Five keys: all five must be in the handler before any may leave it, four times.
    let barrier = Arc::new(Barrier::new(5));
    let inside: Arc<parking_lot::Mutex<HashSet<Vec<u8>>>> = Arc::default();
    let handler = Scripted::new({
        let inside = inside.clone();
        move |record| {
            let (barrier, inside) = (barrier.clone(), inside.clone());
            async move {
                let key = record.key.expect("a key").to_vec();
                assert!(inside.lock().insert(key.clone()), "two of one key at once");
                barrier.wait().await;
                inside.lock().remove(&key);
                Outcome::Done
            }
        }
    });
    let running = Running::start(world.consumer(), handler.clone());
    let calls = handler.until_calls(20).await;
    let stats = running
        .until("all done", |stats| {
            stats.topics.iter().any(|topic| topic.outcomes.done == 20)
        })
        .await;
    assert_eq!(stats.topics[0].outcomes.panicked, 0);
    assert!(
        calls.iter().all(|call| call.attempt == 1),
        "no assertion in the handler failed"
    );
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn no_more_than_max_in_flight_run_at_a_time_and_null_keys_are_free() {
    let world = World::new(1).await;
    for _ in 0..50 {
        world.send_record(0, None, Some(b"x"), &[]).await;
    }
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let handler = Scripted::new({
        let (now, most) = (now.clone(), most.clone());
        move |_| {
            let (now, most) = (now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Outcome::Done
            }
        }
    });
    let running = Running::start(world.consumer().max_in_flight(8), handler.clone());
    handler.until_calls(50).await;
    assert!(running.stop().await.is_clean());
    assert_eq!(
        most.load(Ordering::SeqCst),
        8,
        "up to the limit, since null keys wait for nobody"
    );
}

#[tokio::test]
async fn a_retried_key_waits_in_order_while_the_others_go_on() {
    let world = World::new(1).await;
    world.send(0, "sick", "first").await;
    world.send(0, "sick", "second").await;
    world.send_all(0, 0..50, |n| format!("well-{n}")).await;
    let healed = Arc::new(AtomicBool::new(false));
    let handler = Scripted::new({
        let healed = healed.clone();
        move |record| {
            let sick = record.value.as_deref() == Some(b"first") && !healed.load(Ordering::SeqCst);
            async move {
                if sick {
                    Outcome::Retry("not yet".into())
                } else {
                    Outcome::Done
                }
            }
        }
    });
    let running = Running::start(world.consumer().retry(quick(u32::MAX)), handler.clone());
    let calls = handler
        .until("all others and a retry", |calls| {
            calls
                .iter()
                .filter(|call| call.key().starts_with("well"))
                .count()
                == 50
                && calls.iter().any(|call| call.attempt >= 3)
        })
        .await;
    assert!(
        calls.iter().all(|call| call.value() != "second"),
        "its key waits behind the first"
    );
    healed.store(true, Ordering::SeqCst);
    let calls = handler
        .until("the second", |calls| {
            calls.iter().any(|call| call.value() == "second")
        })
        .await;
    let of_key: Vec<_> = calls.iter().filter(|call| call.key() == "sick").collect();
    for (at, call) in of_key[..of_key.len() - 1].iter().enumerate() {
        assert_eq!((call.value(), call.attempt), ("first", at as u32 + 1));
    }
    assert_eq!(of_key[of_key.len() - 1].attempt, 1);
    assert!(running.stop().await.is_clean());
    assert_eq!(world.committed().await[&0].0, 52);
}

#[tokio::test]
async fn what_is_out_of_attempts_or_rejected_goes_to_the_dead_letters_as_it_was() {
    let world = World::new(2).await.with_dead_letters(2).await;
    let headers: [(&[u8], Option<&[u8]>); 4] = [
        (b"a", Some(b"1")),
        (b"null", None),
        (b"a", Some(b"2")),
        (b"\xff\xfe", Some(b"\x00")),
    ];
    world
        .send_record(1, None, Some(b"reject me"), &headers)
        .await;
    world
        .send_record(1, Some(b"key"), Some(b"retry me"), &[])
        .await;
    world.send_record(1, Some(b"key"), None, &[]).await;
    let handler = Scripted::new(|record| async move {
        match record.value.as_deref() {
            Some(b"reject me") => Outcome::Reject("no such thing".into()),
            Some(_) => Outcome::Retry("never works".into()),
            None => Outcome::Done,
        }
    });
    let builder = world
        .consumer()
        .retry(quick(3))
        .dead_letters(world.letters());
    let running = Running::start(builder, handler.clone());
    let letters = world.read(&world.dlt(), 2).await;
    handler
        .until("the one behind", |calls| {
            calls.iter().any(|call| call.value.is_none())
        })
        .await;
    running
        .until("the commit", |stats| {
            stats.partitions.iter().any(|p| p.committed == Some(3))
        })
        .await;
    assert!(running.stop().await.is_clean());

    let text = |headers: &Headers, name: &str| headers.get_str(name).unwrap_or_default().to_owned();
    for letter in &letters {
        assert_eq!(letter.partition, 1, "the source's partition");
        assert_eq!(
            text(&letter.headers, dead_letter::ORIGINAL_TOPIC),
            world.topic
        );
        assert_eq!(text(&letter.headers, dead_letter::ORIGINAL_PARTITION), "1");
        assert_eq!(
            text(&letter.headers, dead_letter::CONSUMER_GROUP),
            world.group
        );
        let time = text(&letter.headers, dead_letter::TIME);
        assert!(
            chrono::DateTime::parse_from_rfc3339(&time).is_ok(),
            "{time}"
        );
    }
    let rejected = letters
        .iter()
        .find(|letter| letter.key.is_none())
        .expect("the rejected one");
    assert_eq!(rejected.value.as_deref(), Some(&b"reject me"[..]));
    assert_eq!(rejected.headers.iter().take(4).collect::<Vec<_>>(), headers);
    assert_eq!(
        text(&rejected.headers, dead_letter::REASON),
        "no such thing"
    );
    assert_eq!(text(&rejected.headers, dead_letter::ATTEMPTS), "1");
    assert_eq!(text(&rejected.headers, dead_letter::ORIGINAL_OFFSET), "0");
    let retried = letters
        .iter()
        .find(|letter| letter.key.is_some())
        .expect("the retried one");
    assert_eq!(text(&retried.headers, dead_letter::REASON), "never works");
    assert_eq!(text(&retried.headers, dead_letter::ATTEMPTS), "3");
    assert_eq!(
        handler
            .calls()
            .iter()
            .filter(|call| call.value.as_deref() == Some(b"retry me"))
            .count(),
        3
    );
}

#[tokio::test]
async fn a_dead_letter_is_of_its_own_time_and_tells_that_of_its_record() {
    let world = World::new(1).await.with_dead_letters(1).await;
    let now = || {
        let since = SystemTime::UNIX_EPOCH.elapsed().expect("a clock past 1970");
        since.as_millis() as i64
    };
    let minutes = |count: i64| count * 60_000;
    // The source takes what the topic of its letters does not.
    let ahead = i64::MAX.to_string();
    let setting = "message.timestamp.after.max.ms";
    world.kafka.set_topic(&world.topic, setting, &ahead).await;
    // Older than the letters' topic keeps anything; and further ahead than it takes.
    let times = [now() - minutes(8 * 24 * 60), now() + minutes(120)];
    for time in times {
        let record = OutgoingRecord {
            topic: &world.topic,
            partition: Some(0),
            key: Some(b"key"),
            value: Some(b"bad"),
            headers: &[],
            timestamp: Some(time),
        };
        testkit::eventually(PATIENCE, || async {
            world.producer.send(&record).await.ok()
        })
        .await;
    }
    let begin = now();
    let handler = Scripted::new(|_| async { Outcome::Reject("bad".into()) });
    let builder = world.consumer().dead_letters(world.letters());
    let running = Running::start(builder, handler);
    let letters = world.read(&world.dlt(), 2).await;
    assert!(running.stop().await.is_clean());
    for (letter, time) in letters.iter().zip(times) {
        // Brokers may keep their own time; those of the tests are on this machine.
        let own = begin..=now();
        assert!(
            own.contains(&letter.timestamp),
            "{} {own:?}",
            letter.timestamp
        );
        let original = letter.headers.get_str(dead_letter::ORIGINAL_TIMESTAMP);
        assert_eq!(original, Some(&*time.to_string()));
    }
}

#[tokio::test]
async fn a_record_too_large_to_be_a_dead_letter_leaves_one_without_what_does_not_fit() {
    let world = World::new(1).await.with_dead_letters(1).await;
    // With the letter's headers these are above 1 MiB, what a producer sends and a topic takes.
    let much = vec![b'x'; 1024 * 1024 - 200];
    world
        .send_record(0, Some(b"key"), Some(&much), &[(b"a", Some(b"1"))])
        .await;
    world.send_record(0, Some(&much), Some(b"value"), &[]).await;
    world.send_record(0, Some(b"key"), None, &[]).await;
    let handler = Scripted::new(|record| async move {
        match record.value {
            Some(_) => Outcome::Reject("too much".into()),
            None => Outcome::Done,
        }
    });
    let builder = world.consumer().dead_letters(world.letters());
    let running = Running::start(builder, handler);
    running
        .until("the commit behind them", |stats| {
            stats.partitions.iter().any(|p| p.committed == Some(3))
        })
        .await;
    assert!(running.stop().await.is_clean());

    let mut letters = world.read(&world.dlt(), 2).await;
    let header = |letter: &ConsumerRecord, name| letter.headers.get_str(name).map(str::to_owned);
    letters.sort_by_key(|letter| header(letter, dead_letter::ORIGINAL_OFFSET));
    let [without_value, place_alone] = &letters[..] else {
        panic!("{letters:?}")
    };
    for (letter, offset, omitted) in [
        (without_value, "0", "value"),
        (place_alone, "1", "key, value, headers"),
    ] {
        let header = |name| letter.headers.get_str(name);
        assert_eq!(header(dead_letter::ORIGINAL_OFFSET), Some(offset));
        assert_eq!(header(dead_letter::REASON), Some("too much"));
        assert_eq!(header(dead_letter::OMITTED), Some(omitted));
        assert_eq!(letter.value, None);
    }
    assert_eq!(without_value.key.as_deref(), Some(&b"key"[..]));
    assert_eq!(without_value.headers.get_str("a"), Some("1"));
    assert_eq!(place_alone.key, None);
}

#[tokio::test]
async fn a_missing_dead_letter_topic_holds_its_record_and_says_so() {
    let world = World::new(2).await;
    world.send(0, "bad", "bad").await;
    world.send(0, "good", "good").await;
    world.send(1, "good", "good").await;
    let handler = Scripted::new(|record| async move {
        if record.value.as_deref() == Some(b"bad") {
            Outcome::Reject("bad".into())
        } else {
            Outcome::Done
        }
    });
    let running = Running::start(
        world.consumer().dead_letters(world.letters()),
        handler.clone(),
    );
    let told = running
        .until("the others' commit and the problem", |stats| {
            stats
                .partitions
                .iter()
                .any(|p| p.partition.partition == 1 && p.committed == Some(1))
                && stats
                    .partitions
                    .iter()
                    .any(|p| p.partition.partition == 0 && p.problem.is_some())
        })
        .await;
    let held = told
        .partitions
        .iter()
        .find(|p| p.problem.is_some())
        .expect("found above");
    let problem = held.problem.as_deref().unwrap_or_default();
    assert!(
        problem.contains("offset 0") && problem.contains(&world.dlt()),
        "{problem}"
    );
    assert_eq!(
        (held.committed, held.dead_letters_pending),
        (Some(0), 1),
        "not done before it is acknowledged"
    );

    world.kafka.create_topic(&world.dlt(), 1).await;
    running
        .until("the held partition's commit", |stats| {
            stats
                .partitions
                .iter()
                .all(|p| p.problem.is_none() && p.committed == p.high_watermark)
        })
        .await;
    let letters = world.read(&world.dlt(), 1).await;
    assert_eq!(letters[0].value.as_deref(), Some(&b"bad"[..]));
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn unavailable_pauses_all_and_resumes_with_the_same_record() {
    let world = World::new(1).await;
    world.send(0, "a", "1").await;
    world.send(0, "b", "2").await;
    let (down, probes) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicUsize::new(0)),
    );
    let handler = Scripted::new({
        let down = down.clone();
        move |_| {
            let down = down.load(Ordering::SeqCst);
            async move {
                if down {
                    Outcome::Unavailable("the database is away".into())
                } else {
                    Outcome::Done
                }
            }
        }
    })
    .with_probe({
        let (down, probes) = (down.clone(), probes.clone());
        move || {
            probes.fetch_add(1, Ordering::SeqCst);
            !down.load(Ordering::SeqCst)
        }
    });
    // One attempt only: what is unavailable must not use it up.
    let running = Running::start(world.consumer().retry(quick(1)), handler.clone());
    running
        .until("the pause", |stats| {
            stats.state == ConsumerState::Paused("the database is away".into())
        })
        .await;
    world.send(0, "c", "3").await;
    testkit::eventually(PATIENCE, || async {
        (probes.load(Ordering::SeqCst) >= 2).then_some(())
    })
    .await;
    let before = handler.calls();
    assert_eq!(before.len(), 1, "nothing runs while paused, {before:?}");

    down.store(false, Ordering::SeqCst);
    let calls = handler.until_calls(4).await;
    let values: Vec<_> = calls[1..]
        .iter()
        .map(|call| (call.value(), call.attempt))
        .collect();
    assert_eq!(
        values[0],
        ("1", 1),
        "the same record, and its attempt did not count"
    );
    assert_eq!(
        HashSet::from_iter(values),
        HashSet::from([("1", 1), ("2", 1), ("3", 1)])
    );
    running
        .until("running again", |stats| {
            stats.state == ConsumerState::Running
        })
        .await;
    assert!(running.stop().await.is_clean());
    assert_eq!(world.committed().await[&0].0, 3);
}

#[tokio::test]
async fn a_panic_is_a_retry_and_ends_in_the_dead_letters_with_its_message() {
    let world = World::new(1).await.with_dead_letters(1).await;
    world.send(0, "a", "panic").await;
    world.send(0, "b", "fine").await;
    let handler = Scripted::new(|record| async move {
        if record.value.as_deref() == Some(b"panic") {
            tokio::task::yield_now().await;
            panic!("out of cheese at {}", record.offset);
        }
        Outcome::Done
    });
    let builder = world
        .consumer()
        .retry(quick(2))
        .dead_letters(world.letters());
    let running = Running::start(builder, handler.clone());
    let letters = world.read(&world.dlt(), 1).await;
    let reason = letters[0]
        .headers
        .get_str(dead_letter::REASON)
        .unwrap_or_default();
    assert_eq!(reason, "the handler panicked: out of cheese at 0");
    let stats = running
        .until("the commit", |stats| {
            stats.partitions.iter().all(|p| p.committed == Some(2))
        })
        .await;
    let outcomes = stats.topics[0].outcomes;
    assert_eq!(
        (
            outcomes.panicked,
            outcomes.retried,
            outcomes.exhausted,
            outcomes.dead_lettered
        ),
        (2, 1, 1, 1)
    );
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn a_stuck_handler_is_named_and_the_others_go_on() {
    let world = World::new(1).await;
    world.send(0, "stuck", "0").await;
    let latch = Latch::new();
    let handler = Scripted::new({
        let latch = latch.clone();
        move |record| {
            let latch = latch.clone();
            async move {
                if record.key.as_deref() == Some(b"stuck") {
                    latch.opened().await;
                }
                Outcome::Done
            }
        }
    });
    let builder = world
        .consumer()
        .max_processing_time(Duration::from_millis(100))
        .rebalance_timeout(Duration::from_secs(10));
    let running = Running::start(builder, handler.clone());
    let stats = running
        .until("the stuck record", |stats| stats.stuck == 1)
        .await;
    let oldest = stats.oldest_in_flight.clone().expect("it is in flight");
    assert_eq!(
        (&*oldest.partition.topic, oldest.offset),
        (&*world.topic, 0)
    );
    assert!(oldest.age >= Duration::from_millis(100));
    world.send_all(0, 1..100, |n| format!("free-{n}")).await;
    handler.until_calls(100).await;
    latch.open();
    running
        .until("the commit", |stats| {
            stats.stuck == 0 && stats.partitions.iter().all(|p| p.committed == Some(100))
        })
        .await;
    assert!(running.stop().await.is_clean());
}
