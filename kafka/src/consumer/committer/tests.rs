use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};

use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

use super::*;
use crate::consumer::group::Committed;

fn commit(number: i32, offset: i64, claim: u64) -> Commit {
    Commit {
        partition: TopicPartition::new("t", number),
        claim: Claim(claim),
        committed: Committed {
            offset,
            leader_epoch: 3,
            metadata: "k1;BC".to_owned(),
        },
    }
}

fn commits(list: &[Commit]) -> BTreeMap<TopicPartition, Commit> {
    list.iter()
        .map(|commit| (commit.partition.clone(), commit.clone()))
        .collect()
}

fn standing(claims: &[(i32, u64, Option<i32>)]) -> Standing {
    Standing {
        member_id: "m".to_owned(),
        instance: None,
        generation: 4,
        node: Some(1),
        claims: claims
            .iter()
            .map(|(number, claim, new_in)| {
                (TopicPartition::new("t", *number), (Claim(*claim), *new_in))
            })
            .collect(),
        over: false,
    }
}

fn answer(codes: &[(i32, Option<ResponseError>)]) -> OffsetCommitResponse {
    let partitions = codes.iter().map(|(number, error)| {
        OffsetCommitResponsePartition::default()
            .with_partition_index(*number)
            .with_error_code(error.map_or(0, |error| error.code()))
    });
    let topic = OffsetCommitResponseTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("t")))
        .with_partitions(partitions.collect());
    OffsetCommitResponse::default().with_topics(vec![topic])
}

fn result(round: &Round, number: i32) -> Option<&CommitResult> {
    round.results.get(&TopicPartition::new("t", number))
}

#[test]
fn what_is_no_longer_held_is_dropped_before_it_is_sent() {
    let mut round = Round::default();
    let mut left = commits(&[commit(0, 5, 1), commit(1, 5, 2), commit(2, 5, 3)]);
    // 1 was revoked and came back under a new claim, 2 is gone.
    round.drop_what_is_not_held(&mut left, &standing(&[(0, 1, None), (1, 9, None)]));
    assert_eq!(left.len(), 1);
    assert_eq!(result(&round, 1), Some(&CommitResult::Dropped));
    assert_eq!(result(&round, 2), Some(&CommitResult::Dropped));

    let over = Standing {
        over: true,
        ..standing(&[(0, 1, None)])
    };
    round.drop_what_is_not_held(&mut left, &over);
    assert!(left.is_empty());
}

#[test]
fn each_partition_has_its_own_answer() {
    use ResponseError as E;
    let not_yet = [
        E::RebalanceInProgress,
        E::IllegalGeneration,
        E::UnknownMemberId,
        E::FencedInstanceId,
    ];
    for error in not_yet {
        let (mut round, mut left) = (
            Round::default(),
            commits(&[commit(0, 5, 1), commit(1, 6, 1), commit(2, 6, 1)]),
        );
        let told = round.take(
            &mut left,
            &answer(&[(0, Some(error)), (1, None), (2, Some(error))]),
            "g",
        );
        assert!(
            matches!(result(&round, 0), Some(CommitResult::NotYet(why)) if why.contains("group g, t-0"))
        );
        assert_eq!(
            result(&round, 1),
            Some(&CommitResult::Stored {
                without_metadata: false
            })
        );
        assert_eq!(told, [(error, Told::Refused)], "once");
        assert!(left.is_empty());
    }
    for error in [
        E::NotCoordinator,
        E::CoordinatorNotAvailable,
        E::CoordinatorLoadInProgress,
    ] {
        let (mut round, mut left) = (Round::default(), commits(&[commit(0, 5, 1)]));
        let told = round.take(&mut left, &answer(&[(0, Some(error))]), "g");
        assert_eq!(told, [(error, Told::CoordinatorGone)]);
        assert_eq!(left.len(), 1, "it is tried again");
        assert!(!round.last.is_empty() && !round.at_once);
    }
    for error in [
        E::UnstableOffsetCommit,
        E::RequestTimedOut,
        E::UnknownServerError,
    ] {
        let (mut round, mut left) = (Round::default(), commits(&[commit(0, 5, 1)]));
        assert!(
            round
                .take(&mut left, &answer(&[(0, Some(error))]), "g")
                .is_empty()
        );
        assert_eq!(left.len(), 1, "{error:?}");
        round.not_yet(&mut left, "time is up");
        assert_eq!(
            result(&round, 0),
            Some(&CommitResult::NotYet("time is up".to_owned()))
        );
    }
    // A topic that was deleted, or is too new: nobody waits for it here.
    for error in [E::UnknownTopicOrPartition, E::UnknownTopicId] {
        let (mut round, mut left) = (Round::default(), commits(&[commit(0, 5, 1)]));
        round.take(&mut left, &answer(&[(0, Some(error))]), "g");
        assert!(left.is_empty(), "{error:?}");
        assert!(
            matches!(result(&round, 0), Some(CommitResult::UnknownPartition(why)) if why.contains("t-0"))
        );
    }
    // Where a part was stored, what is left has trouble of its own.
    let (mut round, mut left) = (
        Round::default(),
        commits(&[commit(0, 5, 1), commit(1, 6, 1)]),
    );
    let half = answer(&[(0, Some(E::RequestTimedOut)), (1, None)]);
    round.take(&mut left, &half, "g");
    assert!(round.partly && left.len() == 1);
    let (mut round, mut left) = (Round::default(), commits(&[commit(0, 5, 1)]));
    round.take(
        &mut left,
        &answer(&[(0, Some(E::TopicAuthorizationFailed)), (7, None)]),
        "g",
    );
    assert!(
        matches!(result(&round, 0), Some(CommitResult::Refused(why)) if why.contains("TOPIC_AUTHORIZATION_FAILED"))
    );
    assert_eq!(result(&round, 7), None, "nobody asked");
}

#[test]
fn metadata_that_is_too_large_is_left_out() {
    let (mut round, mut left) = (Round::default(), commits(&[commit(0, 5, 1)]));
    let too_large = answer(&[(0, Some(ResponseError::OffsetMetadataTooLarge))]);
    round.take(&mut left, &too_large, "g");
    assert!(round.at_once && left.len() == 1);
    let request = request("g", &standing(&[(0, 1, Some(4))]), &left, &round);
    let sent = &request.topics[0].partitions[0];
    assert_eq!(
        (sent.committed_offset, sent.committed_metadata.as_deref()),
        (5, Some(""))
    );
    round.take(&mut left, &answer(&[(0, None)]), "g");
    assert_eq!(
        result(&round, 0),
        Some(&CommitResult::Stored {
            without_metadata: true
        })
    );

    // A broker that takes no metadata at all: no endless loop.
    let (mut round, mut left) = (Round::default(), commits(&[commit(0, 5, 1)]));
    round.take(&mut left, &too_large, "g");
    round.take(&mut left, &too_large, "g");
    assert!(matches!(result(&round, 0), Some(CommitResult::Refused(_))));
}

#[test]
fn a_request_is_fenced_and_names_the_generation_of_first_commits() {
    let left = commits(&[commit(0, 5, 1), commit(1, 6, 1), commit(2, 7, 1)]);
    let standing = standing(&[(0, 1, Some(4)), (1, 1, Some(3)), (2, 1, None)]);
    let standing = Standing {
        instance: Some("i".to_owned()),
        ..standing
    };
    let request = request("g", &standing, &left, &Round::default());
    assert_eq!(
        (request.generation_id_or_member_epoch, &*request.member_id),
        (4, "m")
    );
    assert_eq!(request.group_instance_id.as_deref(), Some("i"));
    assert_eq!(request.topics.len(), 1);
    let sent: Vec<_> = request.topics[0]
        .partitions
        .iter()
        .map(|of| {
            (
                of.committed_offset,
                of.committed_leader_epoch,
                of.committed_metadata.as_deref().unwrap(),
            )
        })
        .collect();
    // Only while the generation lasts in which the group came to the partition.
    assert_eq!(sent, [(5, 3, "k1;BC;g4"), (6, 3, "k1;BC"), (7, 3, "k1;BC")]);
}

#[tokio::test]
async fn what_waits_together_is_sent_together_and_the_later_word_counts() {
    let mut batch = Batch::default();
    let mut waiting = Vec::new();
    for list in [
        vec![commit(0, 5, 1), commit(1, 1, 7)],
        vec![commit(0, 9, 1)],
        vec![commit(1, 2, 8)],
    ] {
        let (done, answer) = oneshot::channel();
        batch.add(CommitRequest {
            commits: list,
            done,
        });
        waiting.push(answer);
    }
    assert_eq!(
        batch.commits[&TopicPartition::new("t", 0)].committed.offset,
        9
    );
    let mut round = Round::default();
    round.take(
        &mut batch.commits.clone(),
        &answer(&[(0, None), (1, None)]),
        "g",
    );
    batch.answer(&round.results);
    let stored = CommitResult::Stored {
        without_metadata: false,
    };
    let first = waiting.remove(0).await.unwrap();
    assert_eq!(first[0].1, stored);
    assert_eq!(
        first[1].1,
        CommitResult::Dropped,
        "an older claim than the one that was sent"
    );
    assert_eq!(waiting.remove(0).await.unwrap()[0].1, stored);
    assert_eq!(waiting.remove(0).await.unwrap()[0].1, stored);
}
