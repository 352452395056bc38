//! A coordinator that moves, fails, forgets and does not answer.

#[path = "support/consumer.rs"]
mod support;

use std::time::Duration;

use broker::ApiKey;
use kafka::{ConsumerError, GroupError, ResponseError};
use support::{Running, Scripted, World};

/// Records go on arriving after whatever happened.
async fn goes_on(world: &World, handler: &Scripted) {
    let seen = handler.calls().len();
    let offset = world.send(0, "k", "v").await;
    handler
        .until("the next record", |calls| {
            calls[seen..].iter().any(|call| call.offset == offset)
        })
        .await;
    testkit::eventually(support::PATIENCE, || async {
        (world.committed().await.get(&0)?.0 > offset).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_moved_coordinator_is_found_and_nothing_moves() {
    let world = World::own(2).await;
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    running.until_assigned(2).await;
    goes_on(&world, &handler).await;
    let before = running.stats.snapshot();
    let moved = world.kafka.faults().move_coordinator(&world.group, 3, 2);
    moved.refused.hit_times(3).await;
    moved.lookups.hit_times(2).await;
    goes_on(&world, &handler).await;
    let after = running.stats.snapshot();
    assert_eq!(
        (after.generation, &after.member_id),
        (before.generation, &before.member_id)
    );
    running.stop().await;
    assert_eq!(handler.calls().len(), 2);
}

#[tokio::test]
async fn a_broker_that_dies_and_comes_back() {
    let mut world = World::own(2).await;
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    running.until_assigned(2).await;
    goes_on(&world, &handler).await;
    world.kafka.kill_broker().await;
    world.kafka.start_broker().await;
    goes_on(&world, &handler).await;
    running.stop().await;
}

/// As where the coordinator advertises an address that nobody answers at.
#[tokio::test]
async fn a_coordinator_that_does_not_answer_is_named_until_it_does() {
    let world = World::own(1).await;
    let joins = world.kafka.faults().on(ApiKey::JoinGroup);
    let silent = joins.always().drop_connection();
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    let stats = running
        .until("the coordinator named", |stats| {
            stats.group_problem.is_some()
        })
        .await;
    let problem = stats.group_problem.as_deref().unwrap_or_default();
    for part in [&*world.group, world.kafka.bootstrap(), "advertises"] {
        assert!(problem.contains(part), "{part:?} in {problem:?}");
    }
    silent.clear();
    goes_on(&world, &handler).await;
    assert_eq!(running.stats.snapshot().group_problem, None);
    running.stop().await;
}

/// One request of each kind fails once while a consumer starts, in each way.
#[tokio::test]
async fn a_failure_of_any_request_while_joining_is_survived() {
    let steps = [
        ApiKey::FindCoordinator,
        ApiKey::JoinGroup,
        ApiKey::SyncGroup,
        ApiKey::OffsetFetch,
        ApiKey::OffsetCommit,
    ];
    for step in steps {
        for way in ["drop", "lose", "unavailable"] {
            let world = World::own(1).await;
            world.send(0, "k", "v").await;
            let rule = world.kafka.faults().on(step);
            let fault = match way {
                "drop" => rule.drop_connection(),
                "lose" => rule.lose_acknowledgement(),
                _ => rule.error(ResponseError::CoordinatorNotAvailable),
            };
            let handler = Scripted::done();
            let running = Running::start(world.consumer(), handler.clone());
            tokio::time::timeout(support::PATIENCE, fault.hit())
                .await
                .expect("the fault");
            goes_on(&world, &handler).await;
            running.stop().await;
            assert_eq!(handler.calls().len(), 2, "{step:?} {way}");
        }
    }
}

#[tokio::test]
async fn heartbeats_that_fail_cost_nothing_within_the_session() {
    for way in ["drop", "unavailable", "moved"] {
        let world = World::own(1).await;
        let handler = Scripted::done();
        let running = Running::start(world.consumer(), handler.clone());
        running.until_assigned(1).await;
        let generation = running.stats.snapshot().generation;
        let rule = world.kafka.faults().on(ApiKey::Heartbeat).times(3);
        let fault = match way {
            "drop" => rule.drop_connection(),
            "unavailable" => rule.error(ResponseError::CoordinatorNotAvailable),
            _ => rule.error(ResponseError::NotCoordinator),
        };
        testkit::eventually(support::PATIENCE, || async {
            (fault.hits() == 3).then_some(())
        })
        .await;
        goes_on(&world, &handler).await;
        assert_eq!(running.stats.snapshot().generation, generation, "{way}");
        running.stop().await;
    }
}

#[tokio::test]
async fn a_member_that_the_group_forgot_joins_anew() {
    for error in [
        ResponseError::UnknownMemberId,
        ResponseError::IllegalGeneration,
    ] {
        let world = World::own(1).await;
        let handler = Scripted::done();
        let running = Running::start(world.consumer(), handler.clone());
        running.until_assigned(1).await;
        goes_on(&world, &handler).await;
        let generation = running.stats.snapshot().generation;
        let fault = world.kafka.faults().on(ApiKey::Heartbeat).error(error);
        tokio::time::timeout(support::PATIENCE, fault.hit())
            .await
            .expect("the fault");
        running
            .until("a new generation", |stats| stats.generation > generation)
            .await;
        running.until_assigned(1).await;
        goes_on(&world, &handler).await;
        running.stop().await;
        assert_eq!(
            handler.calls().len(),
            2,
            "what was committed does not run again"
        );
    }
}

#[tokio::test]
async fn heartbeats_that_nobody_answers_end_the_session_here_too() {
    let world = World::own(1).await;
    let quick = |client| {
        world
            .consumer_of(client)
            .session_timeout(Duration::from_millis(900))
            .heartbeat_interval(Duration::from_millis(100))
    };
    let cut_off = support::client(&world.kafka, |config| {
        config.client_id = "cut-off".to_owned()
    });
    let (one, two) = (Scripted::done(), Scripted::done());
    let a = Running::start(quick(&cut_off), one.clone());
    a.until_assigned(1).await;
    let silence = |api| {
        world
            .kafka
            .faults()
            .on(api)
            .client_id("cut-off")
            .always()
            .swallow()
    };
    let silences = [ApiKey::Heartbeat, ApiKey::JoinGroup, ApiKey::OffsetCommit].map(silence);
    let b = Running::start(quick(&world.client), two.clone());
    a.until_assigned(0).await;
    b.until_assigned(1).await;
    goes_on(&world, &two).await;
    silences.iter().for_each(broker::Fault::clear);
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn offsets_that_a_transaction_holds_are_waited_for() {
    let world = World::own(1).await;
    world.send_all(0, 0..5, |n| n.to_string()).await;
    world.commit(0, 3).await;
    let fault = world
        .kafka
        .faults()
        .on(ApiKey::OffsetFetch)
        .times(3)
        .error(ResponseError::UnstableOffsetCommit);
    let handler = Scripted::done();
    let running = Running::start(world.consumer(), handler.clone());
    let calls = handler.until_calls(2).await;
    running.stop().await;
    assert_eq!(fault.hits(), 3);
    assert_eq!(calls[0].offset, 3, "not taken for no commit at all");
}

#[tokio::test]
async fn a_group_that_must_not_be_read_is_an_error_that_says_so() {
    let world = World::own(1).await;
    world
        .kafka
        .faults()
        .on(ApiKey::JoinGroup)
        .error(ResponseError::GroupAuthorizationFailed);
    let running = Running::start(world.consumer(), Scripted::done());
    let error = running.ended().await.unwrap_err();
    assert!(matches!(
        error,
        ConsumerError::Group(GroupError::Refused { .. })
    ));
    let text = error.to_string();
    assert!(
        text.contains("GROUP_AUTHORIZATION_FAILED") && text.contains(&world.group),
        "{text}"
    );
}

#[tokio::test]
async fn a_session_timeout_that_the_broker_refuses_names_its_limits() {
    let world = World::new(1).await;
    // Brokers take half an hour at most by default.
    let builder = world.consumer().session_timeout(Duration::from_secs(7200));
    let error = Running::start(builder, Scripted::done())
        .ended()
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("group.max.session.timeout.ms"),
        "{error}"
    );
}
