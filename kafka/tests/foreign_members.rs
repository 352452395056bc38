//! Members of other makes in a group of ours, played on the wire.

#[path = "support/consumer.rs"]
mod support;

use std::time::Duration;

use bytes::Bytes;
use kafka::Assignor;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use support::{PATIENCE, Running, Scripted, World};
use testkit::ResponseError;

/// Between heartbeats.
const BEAT: Duration = Duration::from_millis(200);

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as i16).to_be_bytes());
    bytes.extend(text.as_bytes());
}

/// A subscription to one topic that ends with its user data, whatever its version is to have.
fn subscription(version: i16, topic: &str) -> Bytes {
    let mut bytes = version.to_be_bytes().to_vec();
    bytes.extend(1_i32.to_be_bytes());
    string(&mut bytes, topic);
    bytes.extend((-1_i32).to_be_bytes());
    bytes.into()
}

/// An assignment of partition 0 of these topics.
fn assignment(topics: &[&str]) -> Bytes {
    let mut bytes = 0_i16.to_be_bytes().to_vec();
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        string(&mut bytes, topic);
        bytes.extend(1_i32.to_be_bytes());
        bytes.extend(0_i32.to_be_bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes.into()
}

/// One of its requests at a time, as an old client sends them.
struct Foreign {
    connection: testkit::raw::Connection,
    group: GroupId,
    strategy: &'static str,
    subscription: Bytes,
    member_id: StrBytes,
    generation: i32,
}

impl Foreign {
    async fn new(world: &World, strategy: &'static str, subscription: Bytes) -> Self {
        Self {
            connection: world.kafka.connect().await,
            group: GroupId(text(&world.group)),
            strategy,
            subscription,
            member_id: StrBytes::default(),
            generation: -1,
        }
    }

    async fn join(&mut self) -> JoinGroupResponse {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(self.strategy))
            .with_metadata(self.subscription.clone());
        let joined = loop {
            let request = JoinGroupRequest::default()
                .with_group_id(self.group.clone())
                .with_session_timeout_ms(30_000)
                .with_rebalance_timeout_ms(30_000)
                .with_member_id(self.member_id.clone())
                .with_protocol_type(text("consumer"))
                .with_protocols(vec![protocol.clone()]);
            let joined = self.connection.call(&request, 3).await;
            // A coordinator may be loading the group.
            if joined.error_code == 0 {
                break joined;
            }
            tokio::time::sleep(BEAT).await;
        };
        self.member_id = joined.member_id.clone();
        self.generation = joined.generation_id;
        joined
    }

    /// What it is assigned; a leader says what the others are.
    async fn sync(&mut self, assignments: Vec<(StrBytes, Bytes)>) -> Bytes {
        let given = assignments.into_iter().map(|(member, bytes)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(member)
                .with_assignment(bytes)
        });
        let request = SyncGroupRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_assignments(given.collect());
        let synced = self.connection.call(&request, 2).await;
        assert_eq!(synced.error_code, 0);
        synced.assignment
    }

    /// Whether the group goes on as it is.
    async fn beats(&mut self) -> bool {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone());
        let code = self.connection.call(&request, 2).await.error_code;
        let rebalances = code == ResponseError::RebalanceInProgress.code();
        assert!(code == 0 || rebalances, "{code}");
        !rebalances
    }
}

#[tokio::test]
async fn a_topic_that_the_leader_of_another_make_gives_to_nobody_is_named() {
    let world = World::new(1).await;
    let second = testkit::unique("second");
    world.kafka.create_topic(&second, 1).await;
    // As kafkajs does it: its strategy's name, and its own topics alone.
    let subscription = subscription(0, &world.topic);
    let mut leader = Foreign::new(&world, "RoundRobinAssigner", subscription).await;
    leader.join().await;
    let own = assignment(&[&world.topic]);
    leader
        .sync(vec![(leader.member_id.clone(), own.clone())])
        .await;

    let builder = world
        .consumer()
        .topics([&world.topic, &second])
        .assignors([Assignor::RoundRobinAssigner]);
    let running = Running::start(builder, Scripted::done());
    let alone = async {
        while leader.beats().await {
            tokio::time::sleep(BEAT).await;
        }
    };
    let other = tokio::time::timeout(PATIENCE, alone).await;
    other.expect("ours joins");
    let joined = leader.join().await;
    let all = joined.members.into_iter().map(|member| {
        let leads = member.member_id == joined.leader;
        let given = if leads { own.clone() } else { assignment(&[]) };
        (member.member_id, given)
    });
    let all: Vec<_> = all.collect();
    assert_eq!(all.len(), 2);
    leader.sync(all).await;
    let beating = async {
        loop {
            leader.beats().await;
            tokio::time::sleep(BEAT).await;
        }
    };
    let told = running.until("that nobody has it", |stats| stats.unowned.is_some());
    let stats = tokio::select! {
        stats = told => stats,
        () = beating => unreachable!("it beats on"),
    };
    let unowned = stats.unowned.clone().unwrap_or_default();
    assert!(unowned.contains(&format!("{second}-0")), "{unowned}");
    assert!(
        !unowned.contains(&format!("{}-0", world.topic)),
        "{unowned}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_member_whose_subscription_ends_early_gets_its_part() {
    let world = World::new(2).await;
    let builder = world.consumer().assignors([Assignor::Range]);
    let ours = Running::start(builder, Scripted::done());
    ours.until_assigned(2).await;
    let subscription = subscription(1, &world.topic);
    let mut foreign = Foreign::new(&world, "range", subscription).await;
    let joined = foreign.join().await;
    assert_ne!(joined.leader, joined.member_id, "ours leads");
    let given = foreign.sync(Vec::new()).await;
    assert!(
        given
            .windows(world.topic.len())
            .any(|part| part == world.topic.as_bytes()),
        "{given:?}"
    );
    ours.until("the other half", |stats| stats.partitions.len() == 1)
        .await;
    ours.stop().await;
}
