//! What wakes a sender.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::topic::Partition;

/// Partitions that a sender has to look at.
#[derive(Default)]
pub(super) struct Inbox {
    partitions: Mutex<Vec<Arc<Partition>>>,
    pub(super) wake: Notify,
}

impl Inbox {
    pub(super) fn push(&self, partition: Arc<Partition>) {
        self.partitions.lock().push(partition);
        self.wake.notify_one();
    }

    pub(super) fn drain_into(&self, ready: &mut impl Extend<Arc<Partition>>) {
        ready.extend(self.partitions.lock().drain(..));
    }
}
