//! A broker's answers: the API by the first byte, its version by the second, then the frame.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::{messages::*, protocol::Request};
use wire::Shape;

use super::{input::Input, offsets::track, records::walk};
use crate::{
    admin::groups::describe_members,
    cluster::ClusterView,
    connection::frame,
    consumer::{
        committer::round::Round,
        coordinator::calls::fetched,
        group::{Claim, Commit, Committed},
        topic_partition::TopicPartition,
    },
    producer,
    versions::{self, BrokerVersions},
};

/// One answer, and what is made of it.
pub fn answers(data: &[u8]) {
    let mut input = Input::new(data);
    let (api, version) = (input.byte(), input.byte());
    let frame = input.rest();
    macro_rules! answer {
        ($request:ty) => {
            decode::<$request>(frame, version)
        };
    }
    match api {
        0 => drop(answer!(ApiVersionsRequest).map(|answer| BrokerVersions::new(&answer))),
        1 => drop(answer!(MetadataRequest).map(metadata)),
        2 => drop(answer!(ProduceRequest).map(producer::fuzz::answered)),
        3 => drop(answer!(FetchRequest).map(fetch)),
        4 => drop(answer!(OffsetFetchRequest).map(offset_fetch)),
        5 => drop(answer!(OffsetCommitRequest).map(offset_commit)),
        6 => drop(answer!(DescribeGroupsRequest).map(describe_groups)),
        7 => drop(answer!(ListOffsetsRequest)),
        8 => drop(answer!(FindCoordinatorRequest)),
        9 => drop(answer!(JoinGroupRequest)),
        10 => drop(answer!(SyncGroupRequest)),
        11 => drop(answer!(HeartbeatRequest)),
        12 => drop(answer!(LeaveGroupRequest)),
        13 => drop(answer!(InitProducerIdRequest)),
        14 => drop(answer!(CreateTopicsRequest)),
        15 => drop(answer!(DeleteTopicsRequest)),
        16 => drop(answer!(CreatePartitionsRequest)),
        17 => drop(answer!(DescribeConfigsRequest)),
        18 => drop(answer!(ListGroupsRequest)),
        19 => drop(answer!(DeleteGroupsRequest)),
        _ => {}
    }
}

/// In one of the versions that this client speaks.
pub(super) fn decode<R: Request<Response: Shape>>(
    frame: &[u8],
    version: u8,
) -> Option<R::Response> {
    let (min, max) = versions::ours::<R>();
    let version = min + i16::from(version) % (max - min + 1);
    frame::decode::<R>(Bytes::copy_from_slice(frame), version).ok()
}

fn metadata(answer: MetadataResponse) {
    let Ok(view) = ClusterView::from_response(answer.clone()) else {
        return;
    };
    let merged = ClusterView::from_response(answer)
        .unwrap_or_default()
        .merged(view.clone());
    assert!(!merged.differs(&view), "an answer differs from itself");
    for (name, topic) in &view.topics {
        assert_eq!(
            view.partition_count(name),
            Some(topic.partitions.len() as i32)
        );
        assert_eq!(view.leader(name, -1), None);
        assert_eq!(view.leader(name, topic.partitions.len() as i32), None);
        view.is_settled(name);
    }
}

fn fetch(answer: FetchResponse) {
    for partition in answer
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions)
    {
        let aborted = partition.aborted_transactions.unwrap_or_default();
        let aborted = aborted
            .iter()
            .map(|aborted| (*aborted.producer_id, aborted.first_offset))
            .collect();
        walk(partition.records.unwrap_or_default(), 0, aborted);
    }
}

fn offset_fetch(answer: OffsetFetchResponse) {
    for offset in fetched("g", answer).unwrap_or_default() {
        if let Some(committed) = offset.committed {
            track(committed.offset, &committed.metadata, &[]);
        }
    }
}

fn offset_commit(answer: OffsetCommitResponse) {
    let mut commits: BTreeMap<_, _> = (0..3)
        .map(|number| {
            let partition = TopicPartition::new("orders", number);
            let commit = Commit {
                partition: partition.clone(),
                claim: Claim(1),
                committed: Committed {
                    offset: 5,
                    leader_epoch: -1,
                    metadata: String::new(),
                },
            };
            (partition, commit)
        })
        .collect();
    let mut round = Round::default();
    round.take(&mut commits, &answer, "g");
    assert_eq!(
        commits.len() + round.results.len(),
        3,
        "each commit is stored, refused or still to be made"
    );
}

fn describe_groups(answer: DescribeGroupsResponse) {
    for group in answer.groups {
        let _ = describe_members("g", 1, group);
    }
}
