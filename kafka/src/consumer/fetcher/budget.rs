//! How many fetched bytes may wait to be handled.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Fetching stops while more than half of `limit` waits, and then asks for no more than the rest, so
/// that what waits stays below `limit` and requests do not get tiny. What goes past it is a first
/// batch that is larger than what was asked for, and what two requests at a time bring.
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

    /// How many bytes may be asked for now; `None` while too many wait.
    pub(crate) fn room(&self) -> Option<usize> {
        let used = self.used();
        (used <= self.limit / 2).then(|| self.limit - used)
    }

    /// Bytes that wait now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Waits until there is room. Cancel safe.
    pub(crate) async fn wait_for_room(&self) {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Before the look, or a release between the two would be missed.
            freed.as_mut().enable();
            if self.room().is_some() {
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
        let half = self.budget.limit / 2;
        if before > half && before - self.bytes <= half {
            self.budget.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn waits_while_more_than_half_of_the_limit_is_used() {
        let budget = Budget::new(100);
        assert_eq!(budget.room(), Some(100));
        let first = budget.reserve(50);
        assert_eq!(budget.room(), Some(50));
        assert!(budget.wait_for_room().now_or_never().is_some());
        let second = budget.reserve(60);
        assert_eq!(budget.room(), None);
        let mut room = Box::pin(budget.wait_for_room());
        assert!(room.as_mut().now_or_never().is_none());
        drop(second);
        assert!(room.now_or_never().is_some());
        drop(first);
        assert_eq!(budget.used(), 0);
    }
}
