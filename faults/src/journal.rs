//! What the members of a group say, as it comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::ownership::{Change, Ownership};

mod listener;

pub use self::listener::listen;

/// How long a group on a busy machine may take for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// One group's members, what they own and what they have handled. Clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    group: Arc<str>,
    told: Arc<watch::Sender<Told>>,
}

/// What was told so far.
#[derive(Debug, Default)]
pub struct Told {
    pub ownership: Ownership,
    /// Who handled the record at a partition's offset, in order.
    pub handled: BTreeMap<(i32, i64), Vec<Arc<str>>>,
    /// The latest lines, for whoever wants to know how it came.
    changes: Vec<String>,
}

impl Journal {
    pub fn new(group: &str) -> Self {
        Self {
            group: group.into(),
            told: Arc::new(watch::Sender::default()),
        }
    }

    /// A member says that its partitions change.
    pub fn changed(&self, member: &str, change: &Change) {
        self.told.send_modify(|told| {
            told.ownership.note(member, change);
            told.changes.push(format!("{member}: {change:?}"));
        });
    }

    /// A member says something else.
    pub fn note(&self, member: &str, line: &str) {
        self.told
            .send_modify(|told| told.changes.push(format!("{member}: {line}")));
    }

    /// A member says that it has handled a record.
    pub fn handled(&self, member: &Arc<str>, partition: i32, offset: i64) {
        self.told.send_modify(|told| {
            let by = told.handled.entry((partition, offset)).or_default();
            by.push(member.clone());
        });
    }

    /// Reads what was told so far.
    pub fn with<T>(&self, read: impl FnOnce(&Told) -> T) -> T {
        read(&self.told.borrow())
    }

    /// Waits until what was told is as asked.
    ///
    /// # Panics
    /// When it does not come to that, with what was told.
    pub async fn until(&self, what: &str, check: impl Fn(&Told) -> bool) {
        let mut told = self.told.subscribe();
        let waited = tokio::time::timeout(PATIENCE, told.wait_for(|told| check(told)));
        if waited.await.is_err() {
            self.with(|told| {
                panic!(
                    "{}: {what} did not happen within {PATIENCE:?}; owners {:?}, {} records handled; {:#?}",
                    self.group,
                    told.ownership.owners(),
                    told.handled.len(),
                    told.changes
                )
            });
        }
    }

    /// Waits until these members share these many partitions, each with one owner, none without any.
    pub async fn until_shared(&self, partitions: i32, members: &[&str]) {
        let wanted: BTreeSet<&str> = members.iter().copied().collect();
        let what = format!("{members:?} sharing {partitions} partitions");
        self.until(&what, |told| {
            let owners = told.ownership.owners();
            let by: BTreeSet<&str> = owners.values().flatten().copied().collect();
            let each_once = (0..partitions)
                .all(|partition| owners.get(&partition).is_some_and(|by| by.len() == 1));
            each_once && by == wanted
        })
        .await;
    }

    /// That no partition ever had two owners, and nobody handled what it never owned.
    ///
    /// # Panics
    /// When it is not so.
    pub fn check(&self) {
        self.with(|told| {
            let overlaps = told.ownership.overlaps();
            assert!(
                overlaps.is_empty(),
                "{}: two owners at once: {overlaps:#?}; {:#?}",
                self.group,
                told.changes
            );
            for ((partition, offset), by) in &told.handled {
                for member in by {
                    assert!(
                        told.ownership.ever_owned(member, *partition),
                        "{}: {member} handled {partition} offset {offset} without owning it; {:#?}",
                        self.group,
                        told.changes
                    );
                }
            }
        });
    }
}
