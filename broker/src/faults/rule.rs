//! One rule: which requests, how often, and what happens.

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use parking_lot::Mutex;
use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    DropBefore,
    DropAfter,
    Delay(Duration),
    DelayAnswer(Duration),
    Error(ResponseError),
    ErrorAfter(ResponseError),
    Swallow,
    SwallowAnswer,
}

/// What a request is about, as far as rules tell requests apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Subject<'a> {
    Partition(&'a str, i32),
    Topic(&'a str),
    Group(&'a str),
}

#[derive(Debug, Clone)]
pub(super) struct Matcher {
    pub(super) api: ApiKey,
    pub(super) topic: Option<String>,
    pub(super) partition: Option<i32>,
    pub(super) group: Option<String>,
    pub(super) client_id: Option<String>,
}

impl Matcher {
    pub(super) fn fits(
        &self,
        api: ApiKey,
        client_id: &str,
        subjects: &impl Fn(&mut dyn FnMut(Subject<'_>)),
    ) -> bool {
        if self.api != api || self.client_id.as_deref().is_some_and(|id| id != client_id) {
            return false;
        }
        let mut place = self.topic.is_none() && self.partition.is_none();
        let mut group = self.group.is_none();
        if !(place && group) {
            subjects(&mut |subject| match subject {
                Subject::Partition(topic, partition) => {
                    place |= self.covers(topic, Some(partition));
                }
                Subject::Topic(topic) => place |= self.covers(topic, None),
                Subject::Group(name) => group |= self.group.as_deref() == Some(name),
            });
        }
        place && group
    }

    /// Whether the rule is about this topic and partition; a subject without a partition is about
    /// all of them.
    fn covers(&self, topic: &str, partition: Option<i32>) -> bool {
        self.topic.as_deref().is_none_or(|own| own == topic)
            && self
                .partition
                .is_none_or(|own| partition.is_none_or(|asked| asked == own))
    }
}

pub(super) struct Rule {
    /// Any of them.
    pub(super) matchers: Vec<Matcher>,
    pub(super) action: Action,
    budget: Mutex<Budget>,
    pub(super) hits: watch::Sender<u64>,
}

struct Budget {
    skip: u64,
    /// `u64::MAX` never runs out.
    left: u64,
}

impl Rule {
    pub(super) fn new(matchers: Vec<Matcher>, skip: u64, times: u64, action: Action) -> Self {
        Self {
            matchers,
            action,
            budget: Mutex::new(Budget { skip, left: times }),
            hits: watch::Sender::new(0),
        }
    }

    /// Whether the rule applies to a request that fits; takes one off what is left.
    pub(super) fn count_down(&self) -> bool {
        let mut budget = self.budget.lock();
        if budget.skip > 0 {
            budget.skip -= 1;
            return false;
        }
        match budget.left {
            0 => false,
            u64::MAX => true,
            _ => {
                budget.left -= 1;
                true
            }
        }
    }

    pub(super) fn spent(&self) -> bool {
        self.budget.lock().left == 0
    }
}

/// A rule that applies to the request at hand.
pub(crate) struct Active {
    pub(super) matcher: Matcher,
    pub(crate) action: Action,
}

impl Active {
    pub(crate) fn covers(&self, topic: &str, partition: i32) -> bool {
        self.matcher.covers(topic, Some(partition))
    }
}
