//! The application says where partitions start, and is told before they go.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::{AbortHandle, abortable};
use tokio::time::{Instant, timeout_at};

use super::super::group::Start;
use super::super::lineage::Lineage;
use super::super::listener::{NewPartition, StartAt};
use super::super::topic_partition::TopicPartition;
use super::super::tracker::OffsetTracker;
use super::assignment::{LOCATE_RETRY, names};
use super::core::{Core, Done};
use super::task;
use crate::topic_id::TopicId;

/// What has been said to the listener of a partition.
#[derive(Debug, Default)]
pub(super) enum Told {
    /// Nothing, or all that there is to say.
    #[default]
    Nothing,
    /// It is being asked where to start.
    Asking(#[expect(dead_code, reason = "it does its work when it goes")] Asking),
    /// It has said where to start, and will hear of the end.
    Assigned,
}

/// Drops the call when it goes.
#[derive(Debug)]
pub(super) struct Asking(AbortHandle);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The listener's answer.
pub(super) struct Asked {
    pub(super) slot: usize,
    pub(super) life: u64,
    start: Start,
    answer: Result<StartAt, String>,
    /// What the listener was told.
    topic_id: Option<TopicId>,
    failures: u32,
}

impl Core {
    /// Asks the listener where the partition starts. False: there is none.
    pub(super) fn ask_listener(
        &mut self,
        at: usize,
        life: u64,
        start: &Start,
        failures: u32,
    ) -> bool {
        let Some(listener) = self.settings.listener.clone() else {
            return false;
        };
        let wait = (failures > 0).then(|| LOCATE_RETRY.delay(failures, self.jitter.next()));
        let cluster = self.cluster.clone();
        let Some(slot) = self.slot(at, life) else {
            return true;
        };
        let mut new = NewPartition {
            partition: slot.name.clone(),
            topic_id: slot.topic_id,
            committed: match start {
                Start::Committed(committed) => Some(committed.offset),
                Start::First | Start::Policy => None,
            },
        };
        let start = start.clone();
        let call = async move {
            if let Some(wait) = wait {
                tokio::time::sleep(wait).await;
            }
            let topic = &new.partition.topic;
            let view = match new.topic_id {
                // It may have been created again, which is why the application did not say.
                Some(_) if failures > 0 => Ok(cluster.refresh().await.unwrap_or(cluster.view())),
                Some(_) => Ok(cluster.view()),
                // Not every member has needed the topic's metadata yet.
                None => cluster.ensure_topics(std::slice::from_ref(topic)).await,
            };
            let view = match view {
                Ok(view) => view,
                Err(error) => {
                    return Asked {
                        slot: at,
                        life,
                        start,
                        answer: Err(format!("the topic's id is not known: {error}")),
                        topic_id: None,
                        failures,
                    };
                }
            };
            new.topic_id = view.topic_id(topic).or(new.topic_id);
            let topic_id = new.topic_id;
            let asked = AssertUnwindSafe(async { listener.assigned(&new).await }).catch_unwind();
            let answer = asked.await.unwrap_or_else(|panic| {
                Err(format!("the listener panicked: {}", task::text(&*panic)))
            });
            Asked {
                slot: at,
                life,
                start,
                answer,
                topic_id,
                failures,
            }
        };
        let (call, abort) = abortable(call);
        slot.told = Told::Asking(Asking(abort));
        self.operations
            .push(async { Done::Asked(call.await.ok().map(Box::new)) }.boxed());
        true
    }

    /// The listener has answered.
    pub(super) fn on_asked(&mut self, asked: Asked) {
        let Asked {
            slot: at,
            life,
            start,
            answer,
            topic_id,
            failures,
        } = asked;
        let max_ahead = self.settings.max_ahead;
        let group = self.settings.group.group.clone();
        let Some(slot) = self.slot(at, life) else {
            return;
        };
        match answer {
            Ok(from) => {
                slot.told = Told::Assigned;
                slot.fetch_problem = None;
                slot.topic_id = topic_id;
                match from {
                    StartAt::Commit => self.start_as_the_group_says(at, life, start),
                    StartAt::First => self.start_as_the_group_says(at, life, Start::First),
                    StartAt::Offset {
                        offset,
                        leader_epoch,
                    } => {
                        tracing::info!(%group, partition = %slot.name, offset, "starting where the application says");
                        slot.lineage = Lineage::resumed(offset, leader_epoch.unwrap_or(-1));
                        slot.tracker = Some(OffsetTracker::new(offset, None, max_ahead));
                        self.commit.soon = true;
                        self.start_fetching(at);
                    }
                }
            }
            Err(problem) => {
                let failures = failures + 1;
                if failures.is_power_of_two() {
                    tracing::warn!(%group, partition = %slot.name, failures, "the application does not say where to start, asking again: {problem}");
                }
                slot.fetch_problem = Some(format!("where it starts is not known: {problem}"));
                self.ask_listener(at, life, &start, failures);
            }
        }
    }

    /// Takes these partitions off the listener's list: those that it has to hear the end of.
    pub(super) fn ends_to_tell(
        &mut self,
        slots: impl IntoIterator<Item = (usize, u64)>,
    ) -> Vec<TopicPartition> {
        let mut ends = Vec::new();
        for (at, life) in slots {
            if let Some(slot) = self.slot(at, life)
                && let Told::Assigned = std::mem::take(&mut slot.told)
            {
                ends.push(slot.name.clone());
            }
        }
        ends
    }

    /// Tells the listener that these are lost.
    pub(super) fn tell_lost(&mut self, slots: Vec<(usize, u64)>) {
        let lost = self.ends_to_tell(slots);
        if let Some(listener) = &self.settings.listener
            && !lost.is_empty()
        {
            let told = std::panic::catch_unwind(AssertUnwindSafe(|| listener.lost(&lost)));
            if let Err(panic) = told {
                tracing::error!("the listener panicked: {}", task::text(&*panic));
            }
        }
    }

    /// Tells the listener that these are being revoked; [`Done::Handed`] follows. False: nobody has to be told.
    pub(super) fn tell_revoked(
        &mut self,
        id: u64,
        slots: &[(usize, u64)],
        deadline: Instant,
    ) -> bool {
        let ends = self.ends_to_tell(slots.iter().copied());
        let telling = self.telling_revoked(ends, deadline);
        let Some(telling) = telling else {
            return false;
        };
        self.operations.push(
            async move {
                telling.await;
                Done::Handed { revocation: id }
            }
            .boxed(),
        );
        true
    }

    fn telling_revoked(
        &self,
        ends: Vec<TopicPartition>,
        deadline: Instant,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let listener = self.settings.listener.clone()?;
        if ends.is_empty() {
            return None;
        }
        let group = self.settings.group.group.clone();
        Some(async move {
            let told = AssertUnwindSafe(async { listener.revoked(&ends).await }).catch_unwind();
            match timeout_at(deadline, told).await {
                Ok(Ok(())) => {}
                Ok(Err(panic)) => {
                    tracing::error!(%group, "the listener panicked: {}", task::text(&*panic));
                }
                Err(_) => tracing::warn!(
                    %group, partitions = %names(&ends),
                    "the application has not let go of its partitions in time: nobody waits any longer"
                ),
            }
        })
    }

    /// The consumer ends: all partitions go.
    pub(super) async fn tell_last(&mut self, still_a_member: bool) {
        let slots: Vec<_> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(at, slot)| Some((at, slot.as_ref()?.life)))
            .collect();
        if !still_a_member {
            return self.tell_lost(slots);
        }
        let ends = self.ends_to_tell(slots);
        let deadline = Instant::now() + self.settings.shutdown_drain;
        if let Some(telling) = self.telling_revoked(ends, deadline) {
            telling.await;
        }
    }
}
