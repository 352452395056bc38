//! Commits offsets: one task a group, so that one request is in flight at a time and none is cancelled half-way,
//! whatever becomes of those who asked.
//!
//! Every request carries member id and generation, so the broker refuses what comes too late; and every commit
//! carries the claim under which its partition was handled, so what was revoked or lost since is dropped here.

pub(crate) mod round;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::OffsetCommitResponse;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::round::{Round, Told, request};
use super::group::{Claim, Commit, CommitRequest, CommitResult, GroupConfig};
use super::membership::Input;
use super::standing::Standing;
use super::topic_partition::TopicPartition;
use crate::backoff::Retries;
use crate::cluster::{Cluster, Purpose};
use crate::error::Error;

/// Java `retry.backoff.ms` and `retry.backoff.max.ms`.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

pub(crate) type Results = BTreeMap<TopicPartition, CommitResult>;
type Waiter = (
    Vec<(TopicPartition, Claim)>,
    oneshot::Sender<Vec<(TopicPartition, CommitResult)>>,
);

pub(crate) struct Committer {
    cluster: Arc<Cluster>,
    group: Arc<str>,
    standing: watch::Receiver<Arc<Standing>>,
    membership: mpsc::UnboundedSender<Input>,
}

/// Commits that are sent together.
#[derive(Default)]
struct Batch {
    commits: BTreeMap<TopicPartition, Commit>,
    waiters: Vec<Waiter>,
}

impl Batch {
    /// The later word counts.
    fn add(&mut self, request: CommitRequest) {
        let asked = request
            .commits
            .iter()
            .map(|commit| (commit.partition.clone(), commit.claim))
            .collect();
        self.waiters.push((asked, request.done));
        for commit in request.commits {
            self.commits.insert(commit.partition.clone(), commit);
        }
    }

    fn answer(self, results: &Results) {
        for (asked, done) in self.waiters {
            let of = |(partition, claim): (TopicPartition, Claim)| {
                let same = self
                    .commits
                    .get(&partition)
                    .is_some_and(|commit| commit.claim == claim);
                let result = results
                    .get(&partition)
                    .filter(|_| same)
                    .cloned()
                    .unwrap_or(CommitResult::Dropped);
                (partition, result)
            };
            // Whoever asked may be gone.
            let _ = done.send(asked.into_iter().map(of).collect());
        }
    }
}

impl Committer {
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        config: &GroupConfig,
        standing: watch::Receiver<Arc<Standing>>,
        membership: mpsc::UnboundedSender<Input>,
    ) -> Self {
        Self {
            cluster,
            group: config.group.clone(),
            standing,
            membership,
        }
    }

    /// Until every handle is dropped.
    pub(crate) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<CommitRequest>) {
        while let Some(request) = requests.recv().await {
            let mut batch = Batch::default();
            batch.add(request);
            while let Ok(request) = requests.try_recv() {
                batch.add(request);
            }
            let results = self.commit(batch.commits.clone()).await;
            batch.answer(&results);
        }
    }

    /// Tries until everything has an answer, at most for the request timeout.
    async fn commit(&mut self, mut commits: BTreeMap<TopicPartition, Commit>) -> Results {
        let deadline = Instant::now() + self.cluster.config().request_timeout;
        let mut retries = Retries::new(RETRY.0, RETRY.1);
        let mut round = Round::default();
        loop {
            let standing = self.standing.borrow_and_update().clone();
            round.drop_what_is_not_held(&mut commits, &standing);
            if commits.is_empty() {
                return round.results;
            }
            let Some(node) = standing.node else {
                // The membership is looking for the coordinator.
                let changed = tokio::time::timeout_at(deadline, self.standing.changed()).await;
                if !matches!(changed, Ok(Ok(()))) {
                    round.not_yet(&mut commits, "the group's coordinator is not known");
                }
                continue;
            };
            let answer = self.send(node, &standing, &commits, &round).await;
            match answer {
                Ok(response) => {
                    for (code, told) in round.take(&mut commits, &response, &self.group) {
                        self.report(code, told, node, &standing);
                    }
                }
                Err(error) if error.is_retriable() || error.is_connection() => {
                    round.last = error.to_string()
                }
                Err(error) => round.refuse_all(&mut commits, &error.to_string()),
            }
            if commits.is_empty() {
                return round.results;
            }
            if std::mem::take(&mut round.at_once) {
                continue;
            }
            if std::mem::take(&mut round.partly) {
                // The coordinator works: newer commits must not wait behind these few.
                let why = std::mem::take(&mut round.last);
                round.not_yet(&mut commits, &why);
                return round.results;
            }
            let pause = Instant::now() + retries.next_delay();
            if pause >= deadline {
                let why = std::mem::take(&mut round.last);
                round.not_yet(&mut commits, &why);
                return round.results;
            }
            tokio::time::sleep_until(pause).await;
        }
    }

    async fn send(
        &self,
        node: i32,
        standing: &Standing,
        commits: &BTreeMap<TopicPartition, Commit>,
        round: &Round,
    ) -> Result<OffsetCommitResponse, Error> {
        let timeout = self.cluster.config().request_timeout;
        let connection = self.cluster.connection(node, Purpose::Commit).await?;
        connection
            .call(request(&self.group, standing, commits, round), timeout)
            .await
    }

    /// What the membership is to know of a refusal.
    fn report(&self, code: ResponseError, told: Told, node: i32, standing: &Standing) {
        let input = match told {
            Told::Refused => Input::CommitRefused {
                code,
                member_id: standing.member_id.clone(),
                generation: standing.generation,
            },
            Told::CoordinatorGone => Input::CoordinatorGone { node },
        };
        // It may be over.
        let _ = self.membership.send(input);
    }
}

#[cfg(test)]
mod tests;
