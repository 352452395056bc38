use bytes::Bytes;
use kafka::Headers;
use tokio::sync::mpsc;

use super::*;

/// Keys are record keys, data are record values; a record without a key is no event.
struct Plain;

impl FeedSource for Plain {
    fn event(&self, record: &ConsumerRecord) -> Option<FeedEvent> {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        Some(FeedEvent {
            key: Some(text(record.key.as_ref()?)),
            name: "e",
            data: text(record.value.as_ref()?),
        })
    }
}

fn record(partition: i32, offset: i64, key: &str) -> ConsumerRecord {
    ConsumerRecord {
        topic: "t".into(),
        topic_id: None,
        partition,
        offset,
        timestamp: 0,
        leader_epoch: -1,
        key: (!key.is_empty()).then(|| Bytes::from(key.to_owned())),
        value: Some(Bytes::from(format!("{partition}/{offset}"))),
        headers: Headers::default(),
        attempt: 1,
    }
}

fn hub(ring_records: usize) -> Hub {
    let config = FeedConfig {
        ring_records,
        ..FeedConfig::default()
    };
    let hub = Hub::new(&["t"], Box::new(Plain), config);
    hub.begin([
        (TopicPartition::new("t", 0), 10),
        (TopicPartition::new("t", 1), 20),
    ]);
    hub
}

fn position(text: &str) -> Position {
    Position::parse(text, 1).unwrap()
}

fn received(receiver: &mut mpsc::Receiver<Bytes>) -> Vec<String> {
    let mut all = Vec::new();
    while let Ok(bytes) = receiver.try_recv() {
        all.push(String::from_utf8(bytes.to_vec()).unwrap());
    }
    all
}

fn text(frames: Vec<EventFrame>) -> Vec<String> {
    frames
        .into_iter()
        .map(|frame| String::from_utf8(frame.0.to_vec()).unwrap())
        .collect()
}

/// Attaches at the hub's own position.
fn listen(hub: &Hub, key: Option<&str>, buffer: usize) -> mpsc::Receiver<Bytes> {
    let (sender, receiver) = EventSender::pair(buffer);
    let mut at = hub.position().unwrap();
    let attached = hub.attach(sender, key, &mut at, &HashSet::new());
    assert!(matches!(attached, Attach::Attached));
    receiver
}

#[test]
fn clients_get_what_comes_each_by_its_key() {
    let hub = hub(100);
    let (mut all, mut a) = (listen(&hub, None, 10), listen(&hub, Some("a"), 10));
    assert_eq!(received(&mut all), ["id: 0.0:10,0.1:20\n\n"]);
    received(&mut a);
    hub.publish(vec![
        record(0, 10, "a"),
        record(1, 20, "b"),
        record(1, 21, ""),
    ]);
    let first = "id: 0.0:11,0.1:20\nevent: e\ndata: 0/10\n\n";
    assert_eq!(
        received(&mut all),
        [first, "id: 0.0:11,0.1:21\nevent: e\ndata: 1/20\n\n"]
    );
    assert_eq!(received(&mut a), [first]);
    assert_eq!(hub.clients(), (2, 0));
}

#[test]
fn a_client_resumes_from_the_ring_and_then_live() {
    let hub = hub(100);
    hub.publish(vec![
        record(0, 10, "a"),
        record(1, 20, "b"),
        record(0, 11, "a"),
    ]);
    let (sender, mut receiver) = EventSender::pair(10);
    let mut at = position("0.0:11,0.1:20");
    let Attach::Behind(frames, sender) = hub.attach(sender, None, &mut at, &HashSet::new()) else {
        panic!("not behind");
    };
    assert_eq!(
        text(frames),
        [
            "id: 0.0:11,0.1:21\nevent: e\ndata: 1/20\n\n",
            "id: 0.0:12,0.1:21\nevent: e\ndata: 0/11\n\n"
        ]
    );
    assert_eq!(at, hub.position().unwrap());
    let attached = hub.attach(sender, None, &mut at, &HashSet::new());
    assert!(matches!(attached, Attach::Attached));
    hub.publish(vec![record(0, 12, "a")]);
    assert!(received(&mut receiver)[1].contains("0/12"));
}

#[test]
fn records_seen_elsewhere_are_passed_over() {
    let hub = hub(100);
    hub.publish(vec![
        record(0, 10, "a"),
        record(0, 11, "a"),
        record(1, 20, "b"),
    ]);
    let mut at = hub.floor().unwrap();
    let seen = HashSet::from([(0, 0, 10)]);
    let attached = hub.attach(EventSender::pair(1).0, Some("a"), &mut at, &seen);
    let Attach::Behind(frames, _) = attached else {
        panic!("not behind");
    };
    assert_eq!(text(frames).len(), 1);

    // The other way may have been faster than this hub.
    let (sender, mut receiver) = EventSender::pair(10);
    let mut at = hub.position().unwrap();
    let seen = HashSet::from([(0, 0, 12)]);
    hub.attach(sender, Some("a"), &mut at, &seen);
    hub.publish(vec![record(0, 12, "a"), record(0, 13, "a")]);
    let got = received(&mut receiver);
    assert!(got.len() == 2 && got[1].contains("0/13"), "{got:?}");
}

#[test]
fn what_the_ring_has_lost_must_be_read() {
    let hub = hub(2);
    hub.publish((10..14).map(|offset| record(0, offset, "a")).collect());
    for (at, here) in [
        ("0.0:12,0.1:20", true),
        ("0.0:11,0.1:20", false),
        ("0.0:9,0.1:20", false),
        ("0.0:14,0.1:19", false),
        // Further than the hub: another instance was faster, or the topic was made anew.
        ("0.0:15,0.1:20", false),
        // A partition too few or too many.
        ("0.0:14", false),
        ("0.0:14,0.1:20,0.2:0", false),
        ("0.0:14,0.1:20", true),
    ] {
        assert_eq!(hub.takes_over(&position(at)), here, "{at}");
    }
    hub.pass([(TopicPartition::new("t", 0), 15)]);
    assert!(hub.takes_over(&position("0.0:15,0.1:20")));
    let behind = hub.attach(
        EventSender::pair(1).0,
        None,
        &mut position("0.0:14,0.1:20"),
        &HashSet::new(),
    );
    assert!(matches!(behind, Attach::Behind(frames, _) if frames.is_empty()));
}

#[test]
fn the_ring_is_bounded_in_bytes() {
    let config = FeedConfig {
        ring_bytes: 30,
        ..FeedConfig::default()
    };
    let hub = Hub::new(&["t"], Box::new(Plain), config);
    hub.begin([(TopicPartition::new("t", 0), 10)]);
    // Five bytes each.
    hub.publish((10..30).map(|offset| record(0, offset, "a")).collect());
    assert_eq!(hub.floor().unwrap(), position("0.0:24"));
}

#[test]
fn slow_and_absent_clients_are_dropped() {
    let hub = hub(100);
    let mut slow = listen(&hub, None, 2);
    let absent = listen(&hub, Some("b"), 10);
    drop(absent);
    hub.publish((10..15).map(|offset| record(0, offset, "a")).collect());
    assert_eq!(received(&mut slow).len(), 2);
    assert_eq!(
        hub.clients(),
        (1, 1),
        "nothing was sent to the absent one yet"
    );
    hub.sweep();
    assert_eq!(hub.clients(), (0, 1));
}

#[test]
fn everybody_is_told_of_a_reset() {
    let hub = hub(100);
    let (mut all, mut a) = (listen(&hub, None, 10), listen(&hub, Some("a"), 10));
    hub.begin([(TopicPartition::new("t", 0), 50)]);
    hub.tell_everyone(|position| EventFrame::new(Some(&position.to_string()), Some("reset"), "{}"));
    for receiver in [&mut all, &mut a] {
        assert_eq!(
            received(receiver)[1],
            "id: 0.0:50,0.1:20\nevent: reset\ndata: {}\n\n"
        );
    }
}

#[test]
fn a_partition_that_appears_is_complete_from_its_first_record() {
    let hub = hub(100);
    hub.publish(vec![record(2, 0, "a"), record(2, 1, "a")]);
    assert!(hub.takes_over(&position("0.0:10,0.1:20,0.2:0")));
}
