//! The topics of a group: its leader distributes their partitions, and watches them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Action, Call, Membership, Phase, Tag, TopicCounts};
use crate::error::Error;

/// How soon a leader looks again for a subscribed topic that does not exist. Ours: Java waits for the next regular
/// metadata refresh, up to five minutes.
pub(super) const MISSING_TOPIC: Duration = Duration::from_secs(5);

impl Membership {
    pub(super) fn describe_if_due(&mut self, now: Instant) {
        if let Phase::Assigning {
            topics,
            describing: None,
            retry_at,
            ..
        } = &self.phase
            && now >= *retry_at
        {
            let call = Call::DescribeTopics(topics.clone());
            let tag = self.send(call);
            if let Phase::Assigning { describing, .. } = &mut self.phase {
                *describing = Some(tag);
            }
        }
    }

    /// As leader: partitions that appeared are to be distributed, and topics that do not exist yet looked for.
    pub(super) fn check_topics(&mut self, now: Instant) {
        let Some(watched) = &self.watched else { return };
        if !matches!(self.phase, Phase::Stable) {
            return;
        }
        if self.join.is_none()
            && watched
                .iter()
                .any(|(topic, count)| self.topics.get(topic) != count.as_ref())
        {
            self.join = Some((now, "the partitions of a subscribed topic have changed"));
        }
        if self.misses_topics() && now >= self.look_again {
            self.look_again = now + MISSING_TOPIC;
            self.actions.push(Action::RefreshTopics);
        }
    }

    pub(super) fn misses_topics(&self) -> bool {
        matches!(self.phase, Phase::Stable)
            && self
                .watched
                .as_ref()
                .is_some_and(|watched| watched.values().any(Option::is_none))
    }

    /// The leader knows the group's topics: it assigns.
    pub(super) fn described(&mut self, tag: Tag, answer: Result<TopicCounts, Error>, now: Instant) {
        let Phase::Assigning {
            members,
            topics,
            describing,
            retry_at,
        } = &mut self.phase
        else {
            return;
        };
        if *describing != Some(tag) {
            return;
        }
        *describing = None;
        match answer {
            Err(error) => {
                tracing::warn!(group = %self.config.group, %error, "cannot assign partitions yet");
                *retry_at = now + super::RETRY.delay(1, self.jitter.next());
            }
            Ok(counts) => {
                for topic in &*topics {
                    match counts.get(topic) {
                        Some(count) => self.topics.insert(topic.clone(), *count),
                        None => self.topics.remove(topic),
                    };
                }
                let (members, topics) = (std::mem::take(members), std::mem::take(topics));
                self.phase = Phase::Outside;
                if !self.is_connected() {
                    return self.join_again("the coordinator is gone", now);
                }
                self.watch(&topics);
                let counts: TopicCounts = topics
                    .iter()
                    .filter_map(|topic| Some((topic.clone(), *self.topics.get(topic)?)))
                    .collect();
                let plan = self
                    .assignor
                    .map(|assignor| assignor.assign(&members, &counts))
                    .unwrap_or_default();
                self.sync(&plan);
            }
        }
    }

    pub(super) fn watch(&mut self, topics: &[Arc<str>]) {
        let count = |topic: &Arc<str>| (topic.clone(), self.topics.get(topic).copied());
        let watched: BTreeMap<_, _> = topics.iter().map(count).collect();
        for (topic, _) in watched.iter().filter(|(_, count)| count.is_none()) {
            tracing::warn!(group = %self.config.group, %topic, "a subscribed topic does not exist (yet)");
        }
        self.watched = Some(watched);
    }
}
