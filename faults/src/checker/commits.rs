//! What was committed, against what was handled.

use std::collections::{BTreeMap, HashMap};

use kafka::TopicPartition;

use super::index::Index;
use super::verdict::Violation;
use crate::history::{Group, History, Millis, Place};

/// When the record at each offset of a partition was handled; `None` for never.
type Handled<'a> = BTreeMap<i64, (&'a Place, Option<Millis>)>;

/// No commit is seen before everything below it is handled: for the processing of orders, before
/// the order's events were made or the record became a dead letter; for notifications, before they
/// were stored.
pub(super) fn past_unhandled(history: &History, index: &Index<'_>) -> Vec<Violation> {
    let handled = [
        (Group::Processing, orders_handled(history, index)),
        (Group::Notification, notifications_handled(history, index)),
    ];
    let mut violations = Vec::new();
    for (group, partitions) in &handled {
        // What lies below the last commit was checked with it.
        let mut checked: HashMap<&TopicPartition, i64> = HashMap::new();
        for commit in history.commits.iter().filter(|c| c.group == *group) {
            let Some(records) = partitions.get(&commit.partition) else {
                continue;
            };
            let from = checked.entry(&commit.partition).or_insert(0);
            let below = records.range((*from).min(commit.offset)..commit.offset);
            let early = below
                .map(|(_, record)| record)
                .find(|(_, at)| at.is_none_or(|at| at > commit.seen));
            violations.extend(early.map(|(place, at)| Violation::CommitPastUnhandled {
                group: *group,
                offset: commit.offset,
                seen: commit.seen,
                unhandled: (*place).clone(),
                handled: *at,
            }));
            *from = (*from).max(commit.offset);
        }
    }
    violations
}

fn orders_handled<'a>(
    history: &'a History,
    index: &Index<'a>,
) -> HashMap<TopicPartition, Handled<'a>> {
    let mut partitions: HashMap<TopicPartition, Handled<'_>> = HashMap::new();
    for record in &history.orders {
        let at = match index.letters.get(&(Group::Processing, &record.place)) {
            Some(letter) => Some(letter.time),
            None => index.orders[&*record.event.order].handled(),
        };
        note(&mut partitions, &record.place, at);
    }
    partitions
}

fn notifications_handled<'a>(
    history: &'a History,
    index: &Index<'a>,
) -> HashMap<TopicPartition, Handled<'a>> {
    let mut partitions: HashMap<TopicPartition, Handled<'_>> = HashMap::new();
    for record in &history.results {
        let at = match index.letters.get(&(Group::Notification, &record.place)) {
            Some(letter) => Some(letter.time),
            None => index.orders[&*record.event.order]
                .stored
                .iter()
                .map(|stored| stored.received)
                .min(),
        };
        note(&mut partitions, &record.place, at);
    }
    for stranger in &history.strangers {
        if stranger.event.reader == Group::Notification {
            let letter = index.letters.get(&(Group::Notification, &stranger.place));
            let at = letter.map(|letter| letter.time);
            note(&mut partitions, &stranger.place, at);
        }
    }
    partitions
}

fn note<'a>(
    partitions: &mut HashMap<TopicPartition, Handled<'a>>,
    place: &'a Place,
    at: Option<Millis>,
) {
    let partition = TopicPartition::new(place.topic.clone(), place.partition);
    let records = partitions.entry(partition).or_default();
    records.insert(place.offset, (place, at));
}

/// A partition's commits only grow.
pub(super) fn backwards(history: &History) -> Vec<Violation> {
    let mut last: HashMap<(Group, &TopicPartition), i64> = HashMap::new();
    let mut violations = Vec::new();
    for commit in &history.commits {
        let before = last.entry((commit.group, &commit.partition)).or_insert(0);
        if commit.offset < *before {
            violations.push(Violation::CommitWentBack {
                group: commit.group,
                partition: commit.partition.clone(),
                before: *before,
                offset: commit.offset,
            });
        }
        *before = commit.offset;
    }
    violations
}

/// In the end every group has committed to the end of each partition that it has commits of.
pub(super) fn lag(history: &History) -> Vec<Violation> {
    let mut last: BTreeMap<(Group, &TopicPartition), i64> = BTreeMap::new();
    for commit in &history.commits {
        last.insert((commit.group, &commit.partition), commit.offset);
    }
    let mut violations = Vec::new();
    for ((group, partition), offset) in last {
        let end = history.ends.get(partition).copied().unwrap_or(0);
        if offset != end {
            violations.push(Violation::Lag {
                group,
                partition: partition.clone(),
                committed: offset,
                end,
            });
        }
    }
    violations
}
