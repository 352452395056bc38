//! The handle that requests go through, and the task that lets time pass.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use kafka_protocol::error::ResponseError;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Groups;
use super::group::{Join, Joined, Leave, Sync, Synced};
use crate::config::Config;
use crate::disk::Disk;

/// Handle to the coordinator; its work happens under one lock and never waits inside.
pub(crate) struct Coordinator {
    groups: Arc<Mutex<Groups>>,
    /// The earliest deadline may have changed.
    changed: Arc<Notify>,
}

impl Coordinator {
    /// Reads groups and commits of earlier runs, and starts the task that lets time pass.
    pub(crate) fn start(
        config: &Config,
        disk: Arc<Disk>,
        stop: CancellationToken,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let groups = Arc::new(Mutex::new(Groups::open(config, disk)?));
        let changed = Arc::new(Notify::new());
        let timer = tokio::spawn(pass_time(groups.clone(), changed.clone(), stop));
        Ok((Self { groups, changed }, timer))
    }

    /// Asks to join; resolves when the rebalance is through. Dropped early, the member stays.
    pub(crate) async fn join(&self, group: &str, join: Join) -> Joined {
        let member_id = join.member_id.clone();
        let answer = {
            let (reply, answer) = oneshot::channel();
            self.change().join(group, join, reply);
            answer
        };
        answer
            .await
            .unwrap_or_else(|_| Joined::failed(ResponseError::CoordinatorNotAvailable, member_id))
    }

    /// Asks for the assignment; resolves when the leader has given it.
    pub(crate) async fn sync(&self, group: &str, sync: Sync) -> Result<Synced, ResponseError> {
        let answer = {
            let (reply, answer) = oneshot::channel();
            self.change().sync(group, sync, reply);
            answer
        };
        answer
            .await
            .unwrap_or(Err(ResponseError::CoordinatorNotAvailable))
    }

    pub(crate) fn heartbeat(
        &self,
        group: &str,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        let mut groups = self.change();
        let group = groups.member_group(group)?;
        group.heartbeat(member_id, instance_id, generation, Instant::now())
    }

    pub(crate) fn leave(&self, group: &str, leave: &Leave) -> Result<(), ResponseError> {
        self.change().leave(group, leave)
    }

    /// Read-only and bookkeeping access, where no deadline changes.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock()
    }

    /// Access after which the timer looks at the deadlines again.
    fn change(&self) -> Change<'_> {
        Change {
            groups: self.groups.lock(),
            changed: &self.changed,
        }
    }
}

struct Change<'a> {
    groups: MutexGuard<'a, Groups>,
    changed: &'a Notify,
}

impl std::ops::Deref for Change<'_> {
    type Target = Groups;
    fn deref(&self) -> &Groups {
        &self.groups
    }
}

impl std::ops::DerefMut for Change<'_> {
    fn deref_mut(&mut self) -> &mut Groups {
        &mut self.groups
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let next = self.groups.next_deadline();
        if next != self.groups.timer_set {
            self.groups.timer_set = next;
            self.changed.notify_one();
        }
    }
}

async fn pass_time(groups: Arc<Mutex<Groups>>, changed: Arc<Notify>, stop: CancellationToken) {
    loop {
        let next = {
            let mut groups = groups.lock();
            groups.tick(Instant::now());
            groups.timer_set = groups.next_deadline();
            groups.timer_set
        };
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = changed.notified() => {}
            () = stop.cancelled() => return,
        }
    }
}
