//! Consumer groups over the wire; the state machine itself is tested beside its code.

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use testkit::raw::Connection;
use testkit::{Kafka, eventually};

use crate::common::{text, topic_name};

fn join(group: &str, member_id: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(b"subscription".to_vec().into());
    JoinGroupRequest::default()
        .with_group_id(text(group).into())
        .with_member_id(text(member_id))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins as a client does: once for the id, once with it.
async fn join_anew(connection: &mut Connection, group: &str) -> JoinGroupResponse {
    let told = connection.call(&join(group, ""), 9).await;
    assert_eq!(told.error_code, ResponseError::MemberIdRequired.code());
    connection.call(&join(group, &told.member_id), 9).await
}

fn sync(group: &str, joined: &JoinGroupResponse, given: &[(&str, &str)]) -> SyncGroupRequest {
    let assignments = given
        .iter()
        .map(|(member, assignment)| {
            SyncGroupRequestAssignment::default()
                .with_member_id(text(member))
                .with_assignment(assignment.as_bytes().to_vec().into())
        })
        .collect();
    SyncGroupRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("range")))
        .with_assignments(assignments)
}

async fn heartbeat(connection: &mut Connection, group: &str, joined: &JoinGroupResponse) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(text(group).into())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    connection.call(&request, 4).await.error_code
}

fn commit(group: &str, member: Option<&JoinGroupResponse>, offset: i64) -> OffsetCommitRequest {
    commit_with(group, member, offset, "metadata")
}

fn commit_with(
    group: &str,
    member: Option<&JoinGroupResponse>,
    offset: i64,
    metadata: &str,
) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(1)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text(metadata)));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name("orders"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(text(group).into())
        .with_topics(vec![topic]);
    match member {
        Some(member) => request
            .with_generation_id_or_member_epoch(member.generation_id)
            .with_member_id(member.member_id.clone()),
        None => request.with_generation_id_or_member_epoch(-1),
    }
}

async fn try_commit(connection: &mut Connection, request: &OffsetCommitRequest) -> i16 {
    let response = connection.call(request, 8).await;
    response.topics[0].partitions[0].error_code
}

/// Committed offset and metadata of partition 1.
pub async fn committed(connection: &mut Connection, group: &str) -> (i64, String) {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic_name("orders"))
        .with_partition_indexes(vec![1]);
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(text(group).into())
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let response = connection.call(&request, 8).await;
    let group = &response.groups[0];
    assert_eq!(group.error_code, 0);
    let partition = &group.topics[0].partitions[0];
    let metadata = partition.metadata.clone().unwrap_or_default();
    (partition.committed_offset, metadata.to_string())
}

/// State and number of members.
async fn described(connection: &mut Connection, group: &str) -> (String, usize) {
    let request = DescribeGroupsRequest::default().with_groups(vec![text(group).into()]);
    let response = connection.call(&request, 5).await;
    let group = &response.groups[0];
    (group.group_state.to_string(), group.members.len())
}

#[tokio::test]
async fn two_members_share_a_group_and_one_takes_over_from_the_other() {
    let kafka = Kafka::own_broker().await;
    let (mut a, mut b) = (kafka.connect().await, kafka.connect().await);
    let first = join_anew(&mut a, "shop").await;
    assert_eq!((first.error_code, first.generation_id), (0, 1));
    assert_eq!(first.leader, first.member_id);
    assert!(first.member_id.starts_with("testkit-"));
    let given = [(first.member_id.as_str(), "all")];
    let synced = a.call(&sync("shop", &first, &given), 5).await;
    assert_eq!(&synced.assignment[..], b"all");

    let second = tokio::spawn(async move {
        let joined = join_anew(&mut b, "shop").await;
        let synced = b.call(&sync("shop", &joined, &[]), 5).await;
        assert_eq!(&synced.assignment[..], b"half");
        (b, joined)
    });
    let rebalance = ResponseError::RebalanceInProgress.code();
    eventually(Duration::from_secs(10), async || {
        let mut other = kafka.connect().await;
        (heartbeat(&mut other, "shop", &first).await == rebalance).then_some(())
    })
    .await;
    let again = a.call(&join("shop", &first.member_id), 9).await;
    assert_eq!(again.generation_id, 2);
    assert_eq!(again.members.len(), 2);
    let given: Vec<(&str, &str)> = again
        .members
        .iter()
        .map(|member| (member.member_id.as_str(), "half"))
        .collect();
    a.call(&sync("shop", &again, &given), 5).await;
    let (mut b, second) = second.await.unwrap();
    assert_eq!(described(&mut a, "shop").await, ("Stable".to_owned(), 2));

    let leaving = MemberIdentity::default().with_member_id(second.member_id.clone());
    let leave = LeaveGroupRequest::default()
        .with_group_id(text("shop").into())
        .with_members(vec![leaving]);
    assert_eq!(b.call(&leave, 5).await.members[0].error_code, 0);
    assert_eq!(heartbeat(&mut a, "shop", &again).await, rebalance);
    let alone = a.call(&join("shop", &first.member_id), 9).await;
    assert_eq!((alone.generation_id, alone.members.len()), (3, 1));
}

#[tokio::test]
async fn a_silent_member_is_removed_by_time_alone() {
    let kafka = Kafka::own_broker().await;
    let mut connection = kafka.connect().await;
    let told = connection.call(&join("shop", ""), 9).await;
    let request = join("shop", &told.member_id).with_session_timeout_ms(100);
    let joined = connection.call(&request, 9).await;
    connection.call(&sync("shop", &joined, &[]), 5).await;
    eventually(Duration::from_secs(20), async || {
        let mut other = kafka.connect().await;
        (described(&mut other, "shop").await == ("Empty".to_owned(), 0)).then_some(())
    })
    .await;
    let unknown = ResponseError::UnknownMemberId.code();
    assert_eq!(heartbeat(&mut connection, "shop", &joined).await, unknown);
}

#[tokio::test]
async fn bad_requests_are_refused_by_name() {
    let kafka = Kafka::own_broker().await;
    let mut connection = kafka.connect().await;
    let cases = [
        (join("", ""), ResponseError::InvalidGroupId),
        (join("shop", "stranger"), ResponseError::UnknownMemberId),
        (
            join("shop", "").with_session_timeout_ms(10),
            ResponseError::InvalidSessionTimeout,
        ),
        (
            join("shop", "").with_protocols(Vec::new()),
            ResponseError::InconsistentGroupProtocol,
        ),
    ];
    for (request, error) in cases {
        let response = connection.call(&request, 9).await;
        assert_eq!(response.error_code, error.code(), "{error}");
    }
}

#[tokio::test]
async fn commits_are_fenced_and_bounded() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 2).await;
    let mut connection = kafka.connect().await;
    // Without a member anybody may commit.
    assert_eq!(
        try_commit(&mut connection, &commit("shop", None, 3)).await,
        0
    );
    assert_eq!(
        committed(&mut connection, "shop").await,
        (3, "metadata".to_owned())
    );
    assert_eq!(
        committed(&mut connection, "other").await,
        (-1, String::new())
    );
    let joined = join_anew(&mut connection, "shop").await;
    let during = try_commit(&mut connection, &commit("shop", Some(&joined), 4)).await;
    assert_eq!(during, ResponseError::RebalanceInProgress.code());
    connection.call(&sync("shop", &joined, &[]), 5).await;
    assert_eq!(
        try_commit(&mut connection, &commit("shop", Some(&joined), 5)).await,
        0
    );
    let old = joined.clone().with_generation_id(0);
    assert_eq!(
        try_commit(&mut connection, &commit("shop", Some(&old), 6)).await,
        ResponseError::IllegalGeneration.code()
    );
    assert_eq!(
        try_commit(&mut connection, &commit("shop", None, 6)).await,
        ResponseError::UnknownMemberId.code()
    );
    let long = "x".repeat(4097);
    let request = commit_with("shop", Some(&joined), 6, &long);
    assert_eq!(
        try_commit(&mut connection, &request).await,
        ResponseError::OffsetMetadataTooLarge.code()
    );
    let mut request = commit("shop", Some(&joined), 6);
    request.topics[0].name = topic_name("none");
    assert_eq!(
        try_commit(&mut connection, &request).await,
        ResponseError::UnknownTopicOrPartition.code()
    );
    assert_eq!(committed(&mut connection, "shop").await.0, 5);
}

#[tokio::test]
async fn groups_are_listed_described_and_deleted() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 2).await;
    let mut connection = kafka.connect().await;
    try_commit(&mut connection, &commit("idle", None, 3)).await;
    let joined = join_anew(&mut connection, "busy").await;
    connection.call(&sync("busy", &joined, &[]), 5).await;

    let listed = connection.call(&ListGroupsRequest::default(), 5).await;
    let names: Vec<(&str, &str)> = listed
        .groups
        .iter()
        .map(|group| (group.group_id.as_str(), group.group_state.as_str()))
        .collect();
    assert_eq!(names, [("busy", "Stable"), ("idle", "Empty")]);
    let only = ListGroupsRequest::default().with_states_filter(vec![text("Stable")]);
    assert_eq!(connection.call(&only, 4).await.groups.len(), 1);

    assert_eq!(
        described(&mut connection, "none").await,
        ("Dead".to_owned(), 0)
    );
    let request = DescribeGroupsRequest::default().with_groups(vec![text("none").into()]);
    let response = connection.call(&request, 6).await;
    assert_eq!(
        response.groups[0].error_code,
        ResponseError::GroupIdNotFound.code()
    );

    let names = ["busy", "idle", "none"].map(|name| text(name).into());
    let request = DeleteGroupsRequest::default().with_groups_names(names.to_vec());
    let response = connection.call(&request, 2).await;
    let codes: Vec<i16> = response
        .results
        .iter()
        .map(|result| result.error_code)
        .collect();
    let expected = [
        ResponseError::NonEmptyGroup.code(),
        0,
        ResponseError::GroupIdNotFound.code(),
    ];
    assert_eq!(codes, expected);
    assert_eq!(committed(&mut connection, "idle").await.0, -1);
}

#[tokio::test]
async fn members_and_commits_survive_the_broker() {
    let mut kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 2).await;
    let mut connection = kafka.connect().await;
    let joined = join_anew(&mut connection, "shop").await;
    let given = [(joined.member_id.as_str(), "all")];
    connection.call(&sync("shop", &joined, &given), 5).await;
    try_commit(&mut connection, &commit("shop", Some(&joined), 7)).await;
    kafka.kill_broker().await;
    kafka.start_broker().await;
    let mut connection = kafka.connect().await;
    assert_eq!(heartbeat(&mut connection, "shop", &joined).await, 0);
    assert_eq!(committed(&mut connection, "shop").await.0, 7);
    let synced = connection.call(&sync("shop", &joined, &[]), 5).await;
    assert_eq!(&synced.assignment[..], b"all");
    assert_eq!(
        try_commit(&mut connection, &commit("shop", Some(&joined), 8)).await,
        0
    );
}

#[tokio::test]
async fn a_commit_that_cannot_be_stored_does_not_count() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 2).await;
    let mut connection = kafka.connect().await;
    try_commit(&mut connection, &commit("shop", None, 3)).await;
    let full = broker::DiskFault::Full { after_bytes: 10 };
    kafka.faults().disk(Some(full));
    assert_eq!(
        try_commit(&mut connection, &commit("shop", None, 4)).await,
        ResponseError::KafkaStorageError.code()
    );
    assert_eq!(committed(&mut connection, "shop").await.0, 3);
    kafka.faults().disk(None);
    assert_eq!(
        try_commit(&mut connection, &commit("shop", None, 5)).await,
        0
    );
    assert_eq!(committed(&mut connection, "shop").await.0, 5);
}

#[tokio::test]
async fn the_commits_of_a_deleted_topic_are_forgotten() {
    let kafka = Kafka::own_broker().await;
    kafka.create_topic("orders", 2).await;
    let mut connection = kafka.connect().await;
    try_commit(&mut connection, &commit("shop", None, 3)).await;
    crate::common::delete_topic(&mut connection, "orders").await;
    kafka.create_topic("orders", 2).await;
    assert_eq!(committed(&mut connection, "shop").await.0, -1);
}
