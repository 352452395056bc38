//! One member of a group.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::group::Token;
use super::store::{Hex, StoredMember};

/// A new member that waits for its first join to end is given up after this; Java's
/// `ClassicGroup`: the client may be gone, and its session has not begun.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Duration,
    pub(crate) rebalance_timeout: Duration,
    /// Assignment strategies in the member's order of preference, each with its subscription.
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
    pub(super) joining: Option<Token>,
    pub(super) syncing: Option<Token>,
    /// Has asked for its assignment in this generation.
    pub(super) synced: bool,
    /// Has never been in a generation.
    pub(super) is_new: bool,
    /// When the member counts as dead unless heard of.
    deadline: Instant,
}

impl Member {
    pub(super) fn new(id: String, join: &super::group::Join, token: Token, now: Instant) -> Self {
        Self {
            id,
            instance_id: join.instance_id.clone(),
            client_id: join.client_id.clone(),
            client_host: join.client_host.clone(),
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: join.protocols.clone(),
            assignment: Bytes::new(),
            joining: Some(token),
            syncing: None,
            synced: false,
            is_new: true,
            deadline: now + NEW_MEMBER_JOIN_TIMEOUT,
        }
    }

    pub(super) fn restore(stored: StoredMember, now: Instant) -> Self {
        let session_timeout = Duration::from_millis(stored.session_timeout_ms);
        Self {
            id: stored.id,
            instance_id: stored.instance_id,
            client_id: stored.client_id,
            client_host: stored.client_host,
            session_timeout,
            rebalance_timeout: Duration::from_millis(stored.rebalance_timeout_ms),
            protocols: stored
                .protocols
                .into_iter()
                .map(|(name, metadata)| (name, metadata.0))
                .collect(),
            assignment: stored.assignment.0,
            joining: None,
            syncing: None,
            synced: true,
            is_new: false,
            deadline: now + session_timeout,
        }
    }

    pub(super) fn stored(&self) -> StoredMember {
        StoredMember {
            id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            session_timeout_ms: self.session_timeout.as_millis() as u64,
            rebalance_timeout_ms: self.rebalance_timeout.as_millis() as u64,
            protocols: self
                .protocols
                .iter()
                .map(|(name, metadata)| (name.clone(), Hex(metadata.clone())))
                .collect(),
            assignment: Hex(self.assignment.clone()),
        }
    }

    /// Takes over what a member says when it joins again.
    pub(super) fn update(&mut self, join: &super::group::Join) {
        self.client_id.clone_from(&join.client_id);
        self.client_host.clone_from(&join.client_host);
        self.session_timeout = join.session_timeout;
        self.rebalance_timeout = join.rebalance_timeout;
        self.protocols.clone_from(&join.protocols);
    }

    /// The member was heard of.
    pub(super) fn heard(&mut self, now: Instant) {
        self.deadline = now + self.session_timeout;
    }

    /// When the member counts as dead; `None` while the group keeps it waiting.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let kept_waiting = self.joining.is_some() || self.syncing.is_some();
        (self.is_new || !kept_waiting).then_some(self.deadline)
    }

    /// What the member said under a strategy.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }
}
