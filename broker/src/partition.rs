//! One partition: its log, and the fetches that wait for it to grow.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::log::Log;

pub(crate) struct Partition {
    pub(crate) topic: String,
    pub(crate) index: i32,
    log: Mutex<Log>,
    waiters: Mutex<Vec<Arc<Notify>>>,
    /// The topic is gone; nothing is written or read any more.
    deleted: AtomicBool,
}

impl Partition {
    pub(crate) fn new(topic: &str, index: i32, log: Log) -> Self {
        Self {
            topic: topic.to_owned(),
            index,
            log: Mutex::new(log),
            waiters: Mutex::new(Vec::new()),
            deleted: AtomicBool::new(false),
        }
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock()
    }

    /// Wakes every fetch that waits here.
    pub(crate) fn wake(&self) {
        for waiter in self.waiters.lock().iter() {
            waiter.notify_one();
        }
    }

    /// Has `waiter` notified of every append until the guard is dropped.
    pub(crate) fn watch(self: &Arc<Self>, waiter: &Arc<Notify>) -> Watch {
        self.waiters.lock().push(waiter.clone());
        Watch {
            partition: self.clone(),
            waiter: waiter.clone(),
        }
    }

    pub(crate) fn mark_deleted(&self) {
        // Under the log's lock, so that an append is either before it or sees it.
        let _log = self.log.lock();
        self.deleted.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    /// Forces what was appended to the device; appends go on meanwhile.
    pub(crate) fn sync(&self, disk: &crate::disk::Disk) -> io::Result<()> {
        let file = self.log().active_file()?;
        disk.sync(&file)
    }
}

pub(crate) struct Watch {
    partition: Arc<Partition>,
    waiter: Arc<Notify>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut waiters = self.partition.waiters.lock();
        if let Some(at) = waiters
            .iter()
            .position(|waiter| Arc::ptr_eq(waiter, &self.waiter))
        {
            waiters.swap_remove(at);
        }
    }
}
