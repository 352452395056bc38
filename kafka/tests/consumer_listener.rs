//! Applications that keep their own offsets: where partitions start, and what is said before they go.

#[path = "support/consumer.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use kafka::{NewPartition, Outcome, PartitionListener, StartAt, TopicPartition};
use support::{Latch, PATIENCE, Running, Scripted, World};
use testkit::{ApiKey, ResponseError};
use tokio::sync::watch;

/// What was said, in order, by several listeners and handlers.
#[derive(Clone, Default)]
struct Journal(Arc<watch::Sender<Vec<String>>>);

impl Journal {
    fn note(&self, line: impl Into<String>) {
        self.0.send_modify(|lines| lines.push(line.into()));
    }

    fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    async fn until(&self, line: &str) {
        let mut lines = self.0.subscribe();
        let there = lines.wait_for(|lines| lines.iter().any(|found| found == line));
        if tokio::time::timeout(PATIENCE, there).await.is_err() {
            panic!("{line} is not among {:?}", self.lines());
        }
    }

    fn at(&self, line: &str) -> usize {
        let lines = self.lines();
        lines
            .iter()
            .position(|found| found == line)
            .unwrap_or_else(|| panic!("{line} is not among {lines:?}"))
    }
}

/// Says the same start of every partition, refuses a number of times, and may be held at the end.
#[derive(Clone)]
struct Told {
    name: &'static str,
    journal: Journal,
    start: StartAt,
    refusals: Arc<AtomicI64>,
    let_go: Latch,
}

impl Told {
    fn new(name: &'static str, journal: &Journal, start: StartAt) -> Self {
        let let_go = Latch::new();
        let_go.open();
        Self {
            name,
            journal: journal.clone(),
            start,
            refusals: Arc::default(),
            let_go,
        }
    }
}

fn at(offset: i64) -> StartAt {
    StartAt::Offset {
        offset,
        leader_epoch: None,
    }
}

fn numbers(partitions: &[TopicPartition]) -> String {
    let mut numbers: Vec<_> = partitions.iter().map(|p| p.partition).collect();
    numbers.sort_unstable();
    format!("{numbers:?}")
}

impl PartitionListener for Told {
    async fn assigned(&self, new: &NewPartition) -> Result<StartAt, String> {
        if self.refusals.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Err("the store is away".to_owned());
        }
        let (name, partition) = (self.name, new.partition.partition);
        self.journal
            .note(format!("{name} assigned {partition} {:?}", new.committed));
        Ok(self.start)
    }

    async fn revoked(&self, partitions: &[TopicPartition]) {
        let (name, numbers) = (self.name, numbers(partitions));
        self.journal.note(format!("{name} revoking {numbers}"));
        self.let_go.opened().await;
        self.journal.note(format!("{name} revoked {numbers}"));
    }

    fn lost(&self, partitions: &[TopicPartition]) {
        let (name, numbers) = (self.name, numbers(partitions));
        self.journal.note(format!("{name} lost {numbers}"));
    }
}

#[tokio::test]
async fn a_partition_starts_where_the_application_says_and_that_becomes_the_commit() {
    let world = World::new(1).await;
    world.send_all(0, 0..10, |n| n.to_string()).await;
    world.commit(0, 8).await;
    let journal = Journal::default();
    let listener = Told::new("one", &journal, at(3));
    listener.refusals.store(2, Ordering::SeqCst);
    let handler = Scripted::done();
    let running = Running::start(world.consumer().listener(listener), handler.clone());
    let calls = handler.until_calls(7).await;
    let offsets: Vec<_> = calls.iter().map(|call| call.offset).collect();
    assert_eq!(offsets, [3, 4, 5, 6, 7, 8, 9], "asked again until it said");
    running.until_assigned(1).await;
    assert!(running.stop().await.is_clean());
    assert_eq!(
        journal.lines(),
        [
            "one assigned 0 Some(8)",
            "one revoking [0]",
            "one revoked [0]"
        ]
    );
    assert_eq!(world.committed().await[&0].0, 10);

    // Behind it: what is said becomes the commit, and nothing is handled twice.
    let listener = Told::new("two", &journal, at(10));
    let idle = Scripted::done();
    let running = Running::start(world.consumer().listener(listener), idle.clone());
    running.until_assigned(1).await;
    assert!(running.stop().await.is_clean());
    assert!(idle.calls().is_empty());

    // Or the group's commit says it.
    world.send(0, "more", "more").await;
    let listener = Told::new("three", &journal, StartAt::Commit);
    let handler = Scripted::done();
    let running = Running::start(world.consumer().listener(listener), handler.clone());
    assert_eq!(handler.until_calls(1).await[0].offset, 10);
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn nothing_is_fetched_before_the_answer_and_the_problem_is_told() {
    let world = World::new(1).await;
    world.send(0, "a", "a").await;
    let listener = Told::new("one", &Journal::default(), StartAt::Commit);
    listener.refusals.store(i64::MAX, Ordering::SeqCst);
    let handler = Scripted::done();
    let running = Running::start(world.consumer().listener(listener.clone()), handler.clone());
    let of = |problem: &Option<String>| problem.clone().unwrap_or_default();
    running
        .until("the problem", |stats| {
            let mut problems = stats.partitions.iter().map(|p| of(&p.problem));
            problems.any(|problem| problem.contains("the store is away"))
        })
        .await;
    assert!(handler.calls().is_empty());
    listener.refusals.store(0, Ordering::SeqCst);
    handler.until_calls(1).await;
    running
        .until("no problem", |stats| stats.partitions[0].problem.is_none())
        .await;
    assert!(running.stop().await.is_clean());
}

#[tokio::test]
async fn what_runs_ends_before_it_is_told_and_the_next_owner_waits_for_the_answer() {
    let world = World::new(2).await;
    world.send(0, "a", "a").await;
    world.send(1, "b", "b").await;
    let journal = Journal::default();
    let (running_latch, let_go) = (Latch::new(), Latch::new());
    let handler = Scripted::new({
        let (latch, journal) = (running_latch.clone(), journal.clone());
        move |record| {
            let (latch, journal) = (latch.clone(), journal.clone());
            async move {
                latch.opened().await;
                journal.note(format!("handled {}", record.partition));
                Outcome::Done
            }
        }
    });
    let mut listener = Told::new("one", &journal, StartAt::Commit);
    listener.let_go = let_go.clone();
    let one = Running::start(world.consumer().listener(listener), handler.clone());
    handler.until_calls(2).await;
    let second = Told::new("two", &journal, StartAt::Commit);
    let two = Running::start(world.consumer().listener(second), Scripted::done());
    one.until("the rebalance", |stats| {
        stats.rebalances >= 2 || stats.membership != "stable"
    })
    .await;
    running_latch.open();
    let moved = {
        let mut lines = journal.0.subscribe();
        let told = lines.wait_for(|lines| lines.iter().any(|l| l.starts_with("one revoking")));
        let lines = tokio::time::timeout(PATIENCE, told).await;
        let lines = lines.expect("it is told").expect("the journal is here");
        usize::from(lines.iter().any(|line| line == "one revoking [1]"))
    };
    assert!(
        journal.at(&format!("handled {moved}")) < journal.at(&format!("one revoking [{moved}]"))
    );
    // Until it has answered the partition stays, for several heartbeats, while the other one's records are handled.
    let kept = 1 - i32::try_from(moved).expect("0 or 1");
    let since = std::time::Instant::now();
    let mut handled = 2;
    while since.elapsed() < Duration::from_secs(1) {
        world.send(kept, "more", "more").await;
        handled += 1;
        handler.until_calls(handled).await;
    }
    let begin = format!("two assigned {moved} Some(1)");
    assert!(!journal.lines().contains(&begin), "{:?}", journal.lines());
    let_go.open();
    // Its commit was made after the answer, and before the other began.
    journal.until(&begin).await;
    assert!(journal.at(&format!("one revoked [{moved}]")) < journal.at(&begin));
    assert!(one.stop().await.is_clean());
    assert!(two.stop().await.is_clean());
    let lines = journal.lines();
    let ends = |of: &str| lines.iter().filter(|line| line.starts_with(of)).count();
    assert_eq!((ends("one revoked"), ends("one lost")), (2, 0), "{lines:?}");
}

#[tokio::test]
async fn lost_partitions_are_told_of_and_nothing_is_revoked() {
    let world = World::own(1).await;
    world.send(0, "a", "a").await;
    let journal = Journal::default();
    let handler = Scripted::done();
    let listener = Told::new("one", &journal, StartAt::Commit);
    let builder = world
        .consumer()
        .heartbeat_interval(Duration::from_millis(100))
        .listener(listener);
    let running = Running::start(builder, handler.clone());
    handler.until_calls(1).await;
    // Not the start's, which comes first.
    running
        .until("the record's commit", |stats| {
            stats.partitions.len() == 1 && stats.partitions[0].committed == Some(1)
        })
        .await;
    let heartbeats = world.kafka.faults().on(ApiKey::Heartbeat).times(1);
    heartbeats.error(ResponseError::UnknownMemberId).hit().await;
    journal.until("one lost [0]").await;
    journal.until("one assigned 0 Some(1)").await;
    assert!(running.stop().await.is_clean());
    let lines = journal.lines();
    let revoked = journal.at("one revoked [0]");
    assert!(journal.at("one lost [0]") < revoked, "{lines:?}");
    assert_eq!(lines.len(), 5, "{lines:?}");
}

/// A call of `assigned` that has not answered is dropped when the partition goes.
#[tokio::test]
async fn a_partition_that_goes_before_the_answer_is_not_told_of_again() {
    struct Silent {
        asked: watch::Sender<usize>,
        dropped: Arc<AtomicUsize>,
        ends: Arc<AtomicUsize>,
    }
    struct OnDrop(Arc<AtomicUsize>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    impl PartitionListener for Silent {
        async fn assigned(&self, _: &NewPartition) -> Result<StartAt, String> {
            let _dropped = OnDrop(self.dropped.clone());
            self.asked.send_modify(|asked| *asked += 1);
            std::future::pending().await
        }

        async fn revoked(&self, _: &[TopicPartition]) {
            self.ends.fetch_add(1, Ordering::SeqCst);
        }

        fn lost(&self, _: &[TopicPartition]) {
            self.ends.fetch_add(1, Ordering::SeqCst);
        }
    }
    let world = World::new(2).await;
    let (asked, dropped, ends) = (watch::Sender::new(0), Arc::default(), Arc::default());
    let silent = Silent {
        asked: asked.clone(),
        dropped: Arc::clone(&dropped),
        ends: Arc::clone(&ends),
    };
    let one = Running::start(world.consumer().listener(silent), Scripted::done());
    let mut calls = asked.subscribe();
    let both = calls.wait_for(|asked| *asked == 2);
    tokio::time::timeout(PATIENCE, both)
        .await
        .expect("asked")
        .expect("here");
    let two = Running::start(world.consumer(), Scripted::done());
    two.until_assigned(1).await;
    assert_eq!(
        dropped.load(Ordering::SeqCst),
        1,
        "one went, one is still asked for"
    );
    one.stop().await;
    two.until_assigned(2).await;
    assert_eq!(
        (dropped.load(Ordering::SeqCst), ends.load(Ordering::SeqCst)),
        (2, 0)
    );
    assert!(two.stop().await.is_clean());
}
