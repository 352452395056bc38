use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::consumer_protocol_assignment::{
    ConsumerProtocolAssignment, TopicPartition as AssignmentPartitions,
};
use kafka_protocol::messages::consumer_protocol_subscription::{
    ConsumerProtocolSubscription, TopicPartition as SubscriptionPartitions,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;

use super::*;

fn partitions() -> impl Strategy<Value = Vec<TopicPartition>> {
    prop::collection::btree_set(("[a-c.]{1,3}", 0..20), 0..20).prop_map(|set| {
        set.into_iter()
            .map(|(topic, partition)| TopicPartition::new(topic, partition))
            .collect()
    })
}

fn reference(subscription: &Subscription) -> ConsumerProtocolSubscription {
    ConsumerProtocolSubscription::default()
        .with_topics(
            subscription
                .topics
                .iter()
                .map(|topic| StrBytes::from_string(topic.to_string()))
                .collect(),
        )
        .with_user_data(subscription.user_data.clone())
        .with_generation_id(subscription.generation.unwrap_or(-1))
        .with_owned_partitions(
            subscription
                .owned
                .chunk_by(|a, b| a.topic == b.topic)
                .map(|topic| {
                    SubscriptionPartitions::default()
                        .with_topic(TopicName(StrBytes::from_string(topic[0].topic.to_string())))
                        .with_partitions(
                            topic.iter().map(|partition| partition.partition).collect(),
                        )
                })
                .collect(),
        )
}

proptest! {
    /// Against the schemas of Kafka itself, in every version.
    #[test]
    fn subscriptions_are_those_of_the_schema(
        topics in prop::collection::vec("[a-z.]{0,5}", 0..5),
        user_data in prop::option::of(prop::collection::vec(any::<u8>(), 0..8)),
        owned in partitions(),
        generation in prop::option::of(0..i32::MAX),
        version in 0_i16..=3,
    ) {
        let subscription = Subscription {
            topics: topics.into_iter().map(Arc::from).collect(),
            user_data: user_data.map(Bytes::from),
            owned,
            generation,
        };
        let reference = reference(&subscription);

        let mut written = subscription.encode();
        prop_assert_eq!(written.get_i16(), 3);
        prop_assert_eq!(&ConsumerProtocolSubscription::decode(&mut written, 3).unwrap(), &reference);
        prop_assert!(written.is_empty());

        let mut other = BytesMut::new();
        other.put_i16(version);
        reference.encode(&mut other, version).unwrap();
        let read = Subscription::decode(&other.freeze()).unwrap();
        prop_assert_eq!(read, Subscription {
            owned: if version >= 1 { subscription.owned } else { Vec::new() },
            generation: if version >= 2 { subscription.generation } else { None },
            ..subscription
        });
    }

    #[test]
    fn assignments_are_those_of_the_schema(partitions in partitions(), version in 0_i16..=3, user_data in any::<bool>()) {
        let mut written = encode_assignment(&partitions);
        prop_assert_eq!(written.get_i16(), 3);
        let mut reference = ConsumerProtocolAssignment::default().with_assigned_partitions(
            partitions
                .chunk_by(|a, b| a.topic == b.topic)
                .map(|topic| {
                    AssignmentPartitions::default()
                        .with_topic(TopicName(StrBytes::from_string(topic[0].topic.to_string())))
                        .with_partitions(topic.iter().map(|partition| partition.partition).collect())
                })
                .collect(),
        );
        prop_assert_eq!(&ConsumerProtocolAssignment::decode(&mut written, 3).unwrap(), &reference);

        if user_data {
            reference.user_data = Some(Bytes::from_static(b"whatever"));
        }
        let mut other = BytesMut::new();
        other.put_i16(version);
        reference.encode(&mut other, version).unwrap();
        prop_assert_eq!(decode_assignment(&other.freeze()).unwrap(), partitions);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), cut in 0..80_usize) {
        let _ = Subscription::decode(&Bytes::from(bytes.clone()));
        let _ = decode_assignment(&Bytes::from(bytes));
        let whole = Subscription {
            topics: vec!["orders".into()],
            user_data: Some(Bytes::from_static(b"1234")),
            owned: vec![TopicPartition::new("orders", 1)],
            generation: Some(7),
        }.encode();
        // Version, one topic: what is cut off behind them is absent.
        let read = Subscription::decode(&whole.slice(..cut.min(whole.len())));
        prop_assert_eq!(read.is_ok(), cut >= 2 + 4 + 2 + "orders".len());
        // The rack, two bytes, is not read.
        let generation = read.ok().and_then(|read| read.generation);
        prop_assert_eq!(generation, (cut >= whole.len() - 2).then_some(7));
    }
}

#[test]
fn a_newer_version_is_read_as_the_newest_known_and_what_follows_is_ignored() {
    let subscription = Subscription {
        topics: vec!["a".into()],
        generation: Some(4),
        ..Subscription::default()
    };
    let mut bytes = BytesMut::from(&subscription.encode()[..]);
    bytes[1] = 9;
    bytes.put_slice(b"more");
    assert_eq!(Subscription::decode(&bytes.freeze()), Ok(subscription));
}

#[test]
fn a_length_without_content_is_refused_without_allocating() {
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    bytes.put_i32(i32::MAX);
    assert_eq!(
        decode_assignment(&bytes.freeze()),
        Err(Malformed { at: 6, length: 6 })
    );
    let negative = Bytes::from_static(&[0xff, 0xff]);
    assert!(Subscription::decode(&negative).is_err());
}

#[test]
fn a_member_left_out_has_nothing() {
    assert_eq!(decode_assignment(&Bytes::new()), Ok(Vec::new()));
}

#[test]
fn a_negative_partition_is_malformed() {
    let assignment = encode_assignment(&[TopicPartition::new("t", -1)]);
    assert!(decode_assignment(&assignment).is_err());
    // Behind a subscription's topics it ends what is read.
    let subscription = Subscription {
        topics: vec!["t".into()],
        owned: vec![TopicPartition::new("t", i32::MIN)],
        generation: Some(4),
        ..Subscription::default()
    };
    let read = Subscription::decode(&subscription.encode()).unwrap();
    assert_eq!((read.owned.len(), read.generation), (0, None));
}

#[test]
fn a_subscription_that_ends_early_counts_for_what_is_there() {
    // As sent by a foreign client: version 1 without owned partitions.
    let version_1 = b"\0\x01\0\0\0\x01\0\x0border_topic\xff\xff\xff\xff";
    let read = |bytes: &[u8]| Subscription::decode(&Bytes::copy_from_slice(bytes));
    let topics = Subscription {
        topics: vec!["order_topic".into()],
        ..Subscription::default()
    };
    for version in 0..=3 {
        let mut bytes = version_1.to_vec();
        bytes[1] = version;
        assert_eq!(read(&bytes), Ok(topics.clone()), "version {version}");
        // Without user data, and cut inside of its length.
        for cut in 1..=4 {
            let cut = &bytes[..bytes.len() - cut];
            assert_eq!(read(cut), Ok(topics.clone()), "version {version}: {cut:?}");
        }
        assert!(
            read(&bytes[..bytes.len() - 5]).is_err(),
            "a topic is cut off"
        );
    }
    let whole = Subscription {
        owned: vec![TopicPartition::new("order_topic", 1)],
        generation: Some(7),
        ..topics.clone()
    };
    let mut bytes = whole.encode().to_vec();
    bytes[1] = 2;
    let without_generation = &bytes[..bytes.len() - 6];
    assert_eq!(read(without_generation).unwrap().owned, whole.owned);
    assert_eq!(read(without_generation).unwrap().generation, None);
}
