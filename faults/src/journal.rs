//! What the members of a group say, as it comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::ownership::{Change, Ownership};

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
    /// What the group had committed shortly before a member was killed, by partition.
    killed: BTreeMap<String, BTreeMap<i32, i64>>,
    /// Members that were told that a partition is no longer theirs.
    lost: BTreeSet<(String, i32)>,
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
            if let Change::Lost { partitions } = change {
                let lost = partitions.iter().map(|lost| (member.to_owned(), *lost));
                told.lost.extend(lost);
            }
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

    /// A member is about to be killed, and the group's commits are these.
    pub fn dies(&self, member: &str, commits: BTreeMap<i32, i64>) {
        self.told.send_modify(|told| {
            told.changes.push(format!("{member} dies: {commits:?}"));
            told.killed.insert(member.to_owned(), commits);
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

    /// That what this member handled was handled again only from its last commit on, and only
    /// because it was killed; but for partitions that it lost, as it could not be heard for a session's
    /// length. How many records were.
    ///
    /// # Panics
    /// When it is not so.
    pub fn check_repeats_after(&self, member: &str) -> usize {
        self.with(|told| {
            let mut repeats = 0;
            for ((partition, offset), by) in &told.handled {
                let Some(first) = by.iter().position(|name| **name == *member) else {
                    continue;
                };
                if first + 1 == by.len() {
                    continue;
                }
                repeats += 1;
                if told.lost.contains(&(member.to_owned(), *partition)) {
                    continue;
                }
                let commits = told.killed.get(member);
                // Without a commit, all that it handled is open.
                let open = commits.map(|commits| commits.get(partition).copied().unwrap_or(0));
                assert!(
                    open.is_some_and(|open| *offset >= open),
                    "{}: {partition} offset {offset} was handled by {by:?}, committed before: {open:?}; {:#?}",
                    self.group,
                    told.changes
                );
            }
            repeats
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three records of partition 0, handled by one member, and the last two again by another.
    fn repeated(committed: Option<i64>) -> Journal {
        let journal = Journal::new("test");
        let (first, second) = ("first".into(), "second".into());
        for offset in 0..3 {
            journal.handled(&first, 0, offset);
        }
        if let Some(committed) = committed {
            journal.dies(&first, BTreeMap::from([(0, committed)]));
        }
        for offset in 1..3 {
            journal.handled(&second, 0, offset);
        }
        journal
    }

    #[test]
    fn what_a_killed_member_had_not_committed_may_be_handled_again() {
        assert_eq!(repeated(Some(1)).check_repeats_after("first"), 2);
        assert_eq!(repeated(None).check_repeats_after("second"), 0);
    }

    #[test]
    fn what_a_member_lost_may_be_handled_again() {
        let journal = repeated(None);
        let partitions = vec![0];
        journal.changed("first", &Change::Lost { partitions });
        assert_eq!(journal.check_repeats_after("first"), 2);
    }

    #[test]
    #[should_panic(expected = "committed before: Some(2)")]
    fn what_it_had_committed_may_not() {
        repeated(Some(2)).check_repeats_after("first");
    }

    #[test]
    #[should_panic(expected = "committed before: None")]
    fn nor_what_a_living_member_handled() {
        repeated(None).check_repeats_after("first");
    }
}
