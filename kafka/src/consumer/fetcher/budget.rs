//! How many fetched bytes may wait to be handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Fetching stops while `limit` bytes or more wait; one response may go past it.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    freed: Notify,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.max(1),
            used: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Reservation {
            budget: self.clone(),
            bytes,
        }
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.used() >= self.limit
    }

    /// Bytes that wait now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Waits until there is room. Cancel safe.
    pub(crate) async fn room(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before the look, or a release between the two would be missed.
            freed.as_mut().enable();
            if !self.is_exhausted() {
                return;
            }
            freed.await;
        }
    }
}

/// Bytes that wait; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let before = self.budget.used.fetch_sub(self.bytes, Ordering::AcqRel);
        if before >= self.budget.limit && before - self.bytes < self.budget.limit {
            self.budget.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn waits_while_the_limit_is_used_up() {
        let budget = Budget::new(100);
        let first = budget.reserve(60);
        assert!(budget.room().now_or_never().is_some());
        let second = budget.reserve(60);
        let mut room = Box::pin(budget.room());
        assert!(room.as_mut().now_or_never().is_none());
        drop(first);
        assert!(room.now_or_never().is_some());
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
