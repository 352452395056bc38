//! The name under which a process is a member of its groups.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// A static member id (KIP-345, `group.instance.id`): the name under which a group knows a member again after a restart
/// and gives it its partitions back without a rebalance. It is to be used by one process at a time; all groups of the
/// process may share it. Clones are the same id.
///
/// The id is either [configured](Self::configured) or [derived](Self::derived), which decides what happens when another
/// process takes it over (FENCED_INSTANCE_ID).
#[derive(Clone, Debug)]
pub struct StaticMember {
    id: Arc<str>,
    /// Where the program found the id; `None`: somebody chose it.
    source: Option<Arc<str>>,
    /// Groups in which another process has taken the id over.
    fenced_in: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

impl StaticMember {
    /// An id that somebody chose. When another process takes it over, the consumer ends with
    /// [`GroupError::FencedInstance`](crate::GroupError::FencedInstance).
    pub fn configured(id: &str) -> Self {
        Self {
            id: id.into(),
            source: None,
            fenced_in: Arc::default(),
        }
    }

    /// An id that the program found by itself; `source` says where, for people, such as `data/consumer-svc.instance`.
    /// When another process takes it over, the consumer joins again without an id, and so do later consumers of that
    /// group with this id or a clone: two processes with one id never take it from each other in turn.
    /// [`ConsumerStats::fenced`](crate::ConsumerStats::fenced) names the id then.
    pub fn derived(id: &str, source: &str) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::configured(id)
        }
    }

    /// The id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where a derived id was found; `None` for a configured one.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    pub(crate) fn is_derived(&self) -> bool {
        self.source.is_some()
    }

    pub(crate) fn is_fenced_in(&self, group: &str) -> bool {
        self.fenced_in.lock().contains(group)
    }

    pub(crate) fn fenced_in(&self, group: &Arc<str>) {
        self.fenced_in.lock().insert(group.clone());
    }
}

/// Two are equal if they are the same id from the same source.
impl PartialEq for StaticMember {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.source == other.source
    }
}

impl Eq for StaticMember {}
