//! Misbehaviour on request: how tests make a broker fail in a chosen way, at a chosen place.
//!
//! ```no_run
//! # async fn example(broker: &broker::Broker) {
//! use broker::{ApiKey, ResponseError};
//! // The second produce to partition 0 of "orders" is stored, and its answer is lost.
//! let lost = broker
//!     .faults()
//!     .on(ApiKey::Produce)
//!     .topic("orders")
//!     .partition(0)
//!     .skip(1)
//!     .lose_acknowledgement();
//! // … send …
//! lost.hit().await;
//! # }
//! ```

mod rule;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::disk::{Disk, DiskFault};
pub(crate) use rule::{Action, Active, Subject};
use rule::{Matcher, Rule};

/// The rules by which a broker misbehaves. Cheap to clone; every clone means the same broker.
#[derive(Clone)]
pub struct Faults {
    inner: Arc<Inner>,
}

struct Inner {
    /// Read on every request, so that a healthy broker takes no lock.
    armed: AtomicBool,
    rules: Mutex<Vec<Arc<Rule>>>,
    disk: Arc<Disk>,
}

impl Faults {
    pub(crate) fn new(disk: Arc<Disk>) -> Self {
        Self {
            inner: Arc::new(Inner {
                armed: AtomicBool::new(false),
                rules: Mutex::new(Vec::new()),
                disk,
            }),
        }
    }

    /// Starts a rule about requests of one kind. It takes effect with the method that says what
    /// is to happen, for one request unless [`FaultBuilder::times`] or [`FaultBuilder::always`].
    pub fn on(&self, api: ApiKey) -> FaultBuilder {
        FaultBuilder {
            inner: self.inner.clone(),
            matcher: Matcher {
                api,
                topic: None,
                partition: None,
                group: None,
                client_id: None,
            },
            skip: 0,
            times: 1,
        }
    }

    /// Moves a group's coordinator away and back: the next `refused` requests of the group are
    /// answered NOT_COORDINATOR, and the next `lookups` questions where the coordinator is,
    /// COORDINATOR_NOT_AVAILABLE.
    pub fn move_coordinator(&self, group: &str, refused: u64, lookups: u64) -> CoordinatorMove {
        let matcher = |api| Matcher {
            api,
            topic: None,
            partition: None,
            group: Some(group.to_owned()),
            client_id: None,
        };
        let error = Action::Error(ResponseError::NotCoordinator);
        // One budget over all APIs of a group: a client may meet the move in any of them.
        let refused = Rule::new(
            vec![
                matcher(ApiKey::JoinGroup),
                matcher(ApiKey::SyncGroup),
                matcher(ApiKey::Heartbeat),
                matcher(ApiKey::LeaveGroup),
                matcher(ApiKey::OffsetCommit),
                matcher(ApiKey::OffsetFetch),
            ],
            0,
            refused,
            error,
        );
        let lookups = Rule::new(
            vec![matcher(ApiKey::FindCoordinator)],
            0,
            lookups,
            Action::Error(ResponseError::CoordinatorNotAvailable),
        );
        CoordinatorMove {
            refused: self.inner.add(refused),
            lookups: self.inner.add(lookups),
        }
    }

    /// Makes the disk fail from now on, or heals it.
    pub fn disk(&self, fault: Option<DiskFault>) {
        self.inner.disk.set_fault(fault);
    }

    /// Takes back every rule and heals the disk. Faults that are under way (a delay) end as begun.
    pub fn clear(&self) {
        self.inner.rules.lock().clear();
        self.inner.armed.store(false, Ordering::Release);
        self.disk(None);
    }

    /// Whether any rule is in force.
    pub(crate) fn armed(&self) -> bool {
        self.inner.armed.load(Ordering::Acquire)
    }

    /// What is to happen to a request; counts it as a hit of each rule named.
    pub(crate) fn take(
        &self,
        api: ApiKey,
        client_id: &str,
        subjects: impl Fn(&mut dyn FnMut(Subject<'_>)),
    ) -> Vec<Active> {
        if !self.armed() {
            return Vec::new();
        }
        let mut taken = Vec::new();
        let mut rules = self.inner.rules.lock();
        for rule in rules.iter() {
            let about = rule
                .matchers
                .iter()
                .find(|matcher| matcher.fits(api, client_id, &subjects));
            if let Some(matcher) = about
                && rule.count_down()
            {
                taken.push(Active {
                    matcher: matcher.clone(),
                    action: rule.action,
                });
                rule.hits.send_modify(|hits| *hits += 1);
            }
        }
        rules.retain(|rule| !rule.spent());
        if rules.is_empty() {
            self.inner.armed.store(false, Ordering::Release);
        }
        taken
    }
}

impl Inner {
    fn add(self: &Arc<Self>, rule: Rule) -> Fault {
        let rule = Arc::new(rule);
        if !rule.spent() {
            let mut rules = self.rules.lock();
            rules.push(rule.clone());
            self.armed.store(true, Ordering::Release);
        }
        Fault {
            hits: rule.hits.subscribe(),
            rule,
            inner: self.clone(),
        }
    }
}

/// A rule in the making.
#[must_use = "a rule takes effect when it is told what is to happen"]
pub struct FaultBuilder {
    inner: Arc<Inner>,
    matcher: Matcher,
    skip: u64,
    times: u64,
}

impl FaultBuilder {
    /// Only requests that name this topic.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.matcher.topic = Some(topic.into());
        self
    }

    /// Only requests that name this partition. An error code then goes to this partition alone.
    pub fn partition(mut self, partition: i32) -> Self {
        self.matcher.partition = Some(partition);
        self
    }

    /// Only requests about this group.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.matcher.group = Some(group.into());
        self
    }

    /// Only requests of clients with this client id.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.matcher.client_id = Some(client_id.into());
        self
    }

    /// Lets this many matching requests through first. Default 0.
    pub fn skip(mut self, requests: u64) -> Self {
        self.skip = requests;
        self
    }

    /// Applies to this many requests. Default 1.
    pub fn times(mut self, requests: u64) -> Self {
        self.times = requests;
        self
    }

    /// Applies until cleared.
    pub fn always(self) -> Self {
        self.times(u64::MAX)
    }

    /// Closes the connection; the request is not handled.
    pub fn drop_connection(self) -> Fault {
        self.add(Action::DropBefore)
    }

    /// Handles the request, then closes the connection instead of answering.
    pub fn lose_acknowledgement(self) -> Fault {
        self.add(Action::DropAfter)
    }

    /// Handles the request this much later; other requests of the connection wait behind it.
    pub fn delay(self, by: Duration) -> Fault {
        self.add(Action::Delay(by))
    }

    /// Handles the request at once and answers this much later.
    pub fn delay_answer(self, by: Duration) -> Fault {
        self.add(Action::DelayAnswer(by))
    }

    /// Answers with this error and does nothing of what was asked.
    pub fn error(self, error: ResponseError) -> Fault {
        self.add(Action::Error(error))
    }

    /// Does what was asked, and answers with this error nonetheless.
    pub fn error_after(self, error: ResponseError) -> Fault {
        self.add(Action::ErrorAfter(error))
    }

    /// Never answers: the request is not handled, and the connection stays open and silent.
    pub fn swallow(self) -> Fault {
        self.add(Action::Swallow)
    }

    /// Handles the request and never answers; the connection stays open and silent.
    pub fn swallow_answer(self) -> Fault {
        self.add(Action::SwallowAnswer)
    }

    fn add(self, action: Action) -> Fault {
        let rule = Rule::new(vec![self.matcher], self.skip, self.times, action);
        self.inner.add(rule)
    }
}

/// A rule in force. Dropping the handle leaves the rule as it is.
pub struct Fault {
    rule: Arc<Rule>,
    hits: watch::Receiver<u64>,
    inner: Arc<Inner>,
}

impl Fault {
    /// Requests it has applied to so far.
    pub fn hits(&self) -> u64 {
        *self.hits.borrow()
    }

    /// Waits until it has applied to a request.
    pub async fn hit(&self) {
        self.hit_times(1).await;
    }

    /// Waits until it has applied to this many requests.
    pub async fn hit_times(&self, times: u64) {
        let mut hits = self.hits.clone();
        // The sender lives in the rule, which this handle holds: the wait cannot fail.
        let _ = hits.wait_for(|hits| *hits >= times).await;
    }

    /// Takes the rule back.
    pub fn clear(&self) {
        let mut rules = self.inner.rules.lock();
        rules.retain(|rule| !Arc::ptr_eq(rule, &self.rule));
        if rules.is_empty() {
            self.inner.armed.store(false, Ordering::Release);
        }
    }
}

/// Both sides of a coordinator's move.
pub struct CoordinatorMove {
    /// Requests of the group refused with NOT_COORDINATOR.
    pub refused: Fault,
    /// Lookups answered COORDINATOR_NOT_AVAILABLE.
    pub lookups: Fault,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("action", &self.rule.action)
            .field("hits", &self.hits())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults() -> Faults {
        Faults::new(Arc::new(Disk::default()))
    }

    fn produce(faults: &Faults, topic: &str, partition: i32) -> Vec<Action> {
        let taken = faults.take(ApiKey::Produce, "client", |visit| {
            visit(Subject::Partition(topic, partition));
        });
        taken.iter().map(|active| active.action).collect()
    }

    #[test]
    fn a_rule_applies_to_what_it_names_and_as_often_as_told() {
        let faults = faults();
        let fault = faults
            .on(ApiKey::Produce)
            .topic("orders")
            .partition(1)
            .skip(1)
            .times(2)
            .drop_connection();
        assert!(produce(&faults, "orders", 0).is_empty());
        assert!(produce(&faults, "other", 1).is_empty());
        assert!(produce(&faults, "orders", 1).is_empty(), "skipped");
        assert_eq!(produce(&faults, "orders", 1), [Action::DropBefore]);
        assert_eq!(produce(&faults, "orders", 1), [Action::DropBefore]);
        assert!(produce(&faults, "orders", 1).is_empty(), "used up");
        assert_eq!(fault.hits(), 2);
    }

    #[test]
    fn other_apis_and_clients_are_left_alone() {
        let faults = faults();
        let _fault = faults.on(ApiKey::Fetch).always().swallow();
        assert!(produce(&faults, "orders", 0).is_empty());
        let _fault = faults
            .on(ApiKey::Produce)
            .client_id("somebody")
            .always()
            .swallow();
        assert!(produce(&faults, "orders", 0).is_empty());
    }

    #[test]
    fn a_cleared_rule_is_gone() {
        let faults = faults();
        let fault = faults.on(ApiKey::Produce).always().drop_connection();
        assert_eq!(produce(&faults, "orders", 0).len(), 1);
        fault.clear();
        assert!(produce(&faults, "orders", 0).is_empty());
    }

    #[test]
    fn a_coordinator_move_counts_over_all_requests_of_the_group() {
        let faults = faults();
        let moved = faults.move_coordinator("shop", 2, 0);
        let ask = |api, group: &str| {
            faults
                .take(api, "client", |visit| visit(Subject::Group(group)))
                .len()
        };
        assert_eq!(ask(ApiKey::Heartbeat, "other"), 0);
        assert_eq!(ask(ApiKey::Heartbeat, "shop"), 1);
        assert_eq!(ask(ApiKey::OffsetCommit, "shop"), 1);
        assert_eq!(ask(ApiKey::JoinGroup, "shop"), 0);
        assert_eq!(moved.refused.hits(), 2);
    }
}
