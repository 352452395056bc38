use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::protocol::{Encodable as _, Message as _};

use super::*;

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

#[test]
fn offsets_are_asked_for_in_the_form_of_each_version() {
    for version in OffsetFetchRequest::VERSIONS.min..=OffsetFetchRequest::VERSIONS.max {
        let request = request("g", Some(vec![("t".into(), vec![0, 1])]), version, true);
        request
            .compute_size(version)
            .unwrap_or_else(|error| panic!("version {version}: {error}"));
        assert_eq!(
            request.require_stable,
            version >= 7,
            "not what an open transaction is about to replace"
        );
        let asked = if version >= 8 {
            assert_eq!(&*request.groups[0].group_id.0, "g");
            request.groups[0]
                .topics
                .as_ref()
                .map(|topics| topics[0].partition_indexes.clone())
        } else {
            assert_eq!(&*request.group_id.0, "g");
            request
                .topics
                .as_ref()
                .map(|topics| topics[0].partition_indexes.clone())
        };
        assert_eq!(asked, Some(vec![0, 1]), "version {version}");
    }
}

/// A request for all of a group's topics exists since version 2, which every broker that is spoken to has.
#[test]
fn all_offsets_of_a_group_are_asked_for_without_topics() {
    for version in 2..=OffsetFetchRequest::VERSIONS.max {
        let request = request("g", None, version, false);
        request
            .compute_size(version)
            .unwrap_or_else(|error| panic!("version {version}: {error}"));
        assert!(!request.require_stable);
        if version >= 8 {
            assert_eq!(request.groups[0].topics, None, "version {version}");
        } else {
            assert_eq!(request.topics, None, "version {version}");
        }
    }
}

fn shown(offsets: Vec<FetchedOffset>) -> Vec<String> {
    offsets
        .into_iter()
        .map(|of| match (of.error, of.committed) {
            (Some(error), _) => format!("{} {error:?}", of.partition),
            (None, Some(committed)) => {
                format!(
                    "{} {} {} {:?}",
                    of.partition, committed.offset, committed.leader_epoch, committed.metadata
                )
            }
            (None, None) => format!("{} none", of.partition),
        })
        .collect()
}

#[test]
fn answers_of_both_forms_read_the_same() {
    let unstable = ResponseError::UnstableOffsetCommit.code();
    let expected = ["t-0 5 2 \"k1;BC\"", "t-1 none", "t-2 UnstableOffsetCommit"];
    let rows = [
        (0, 5, 2, Some("k1;BC"), 0),
        (1, -1, -1, None, 0),
        (2, -1, -1, Some(""), unstable),
    ];
    let old = rows.map(|(number, offset, epoch, metadata, code)| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(number)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(metadata.map(StrBytes::from_static_str))
            .with_error_code(code)
    });
    let old = OffsetFetchResponseTopic::default()
        .with_name(topic())
        .with_partitions(old.to_vec());
    assert_eq!(
        shown(fetched("g", OffsetFetchResponse::default().with_topics(vec![old])).unwrap()),
        expected
    );

    let new = rows.map(|(number, offset, epoch, metadata, code)| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(number)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_metadata(metadata.map(StrBytes::from_static_str))
            .with_error_code(code)
    });
    let new = OffsetFetchResponseTopics::default()
        .with_name(topic())
        .with_partitions(new.to_vec());
    let new = OffsetFetchResponseGroup::default().with_topics(vec![new]);
    assert_eq!(
        shown(fetched("g", OffsetFetchResponse::default().with_groups(vec![new])).unwrap()),
        expected
    );
}

#[test]
fn a_refusal_of_the_whole_group_is_an_error_in_both_forms() {
    let code = ResponseError::GroupAuthorizationFailed.code();
    let old = OffsetFetchResponse::default().with_error_code(code);
    let group = OffsetFetchResponseGroup::default().with_error_code(code);
    let new = OffsetFetchResponse::default().with_groups(vec![group]);
    for response in [old, new] {
        let error = fetched("g", response).unwrap_err();
        assert_eq!(
            error.to_string(),
            "OffsetFetch for group g: GROUP_AUTHORIZATION_FAILED (30)"
        );
    }
}
