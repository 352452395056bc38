//! The lines in which members tell what they own and handle, and what they mean.

use std::sync::Arc;

use crate::journal::Journal;
use crate::ownership::Change;

/// `record PARTITION OFFSET`
pub(super) fn record_line(journal: &Journal, member: &Arc<str>, line: &str) -> bool {
    let mut words = line.split(' ');
    let (Some("record"), Some(partition), Some(offset)) =
        (words.next(), words.next(), words.next())
    else {
        return false;
    };
    let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse()) else {
        return false;
    };
    journal.handled(member, partition, offset);
    true
}

/// What ours and Java's say: records, and changes.
pub(super) fn plain_line(journal: &Journal, member: &Arc<str>, line: &str) -> bool {
    if record_line(journal, member, line) {
        return true;
    }
    let change = line.parse();
    if let Ok(change) = &change {
        journal.changed(member, change);
    }
    change.is_ok()
}

/// The generation of each JoinGroup answer among the debug lines, and the callbacks' lines:
/// `% Group … rebalanced (memberid …): assigned: topic [0], topic [1]` of eager strategies,
/// `% Group … rebalanced: incremental assignment of 2 partition(s) (…): topic [0], …` of others.
pub(super) fn kcat_line() -> impl FnMut(&Journal, &Arc<str>, &str) -> bool {
    let mut generation = -1;
    move |journal, member, line| {
        if let Some((_, after)) = line.split_once("JoinGroup response: GenerationId ") {
            let number = after
                .split(',')
                .next()
                .and_then(|number| number.parse().ok());
            generation = number.filter(|number| *number >= 0).unwrap_or(generation);
            return true;
        }
        let Some((_, told)) = line
            .strip_prefix("% Group ")
            .and_then(|rest| rest.split_once(" rebalanced"))
        else {
            return false;
        };
        let partitions = told
            .split('[')
            .skip(1)
            .filter_map(|rest| rest.split(']').next()?.parse().ok())
            .collect();
        let change = if told.contains("assigned:") || told.contains("incremental assignment") {
            Change::Assigned {
                generation,
                partitions,
            }
        } else if told.contains("revoked:") || told.contains("incremental revoke") {
            Change::Revoked {
                generation,
                partitions,
            }
        } else {
            return false;
        };
        journal.changed(member, &change);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        mut understand: impl FnMut(&Journal, &Arc<str>, &str) -> bool,
        lines: &[&str],
    ) -> Journal {
        let journal = Journal::new("test");
        for line in lines {
            assert!(understand(&journal, &"a".into(), line), "{line}");
        }
        assert!(!understand(&journal, &"a".into(), "something else"));
        journal
    }

    #[test]
    fn what_ours_and_java_s_say_is_understood() {
        let journal = told(
            plain_line,
            &[
                "assigned 3 0 1",
                "record 1 17",
                "revoked 3 0",
                "lost -1",
                "assigned 4",
            ],
        );
        journal.with(|told| {
            assert_eq!(told.ownership.owners().into_keys().collect::<Vec<_>>(), [1]);
            assert!(told.handled.contains_key(&(1, 17)));
        });
    }

    #[test]
    fn what_kcat_says_is_understood() {
        let journal = told(
            kcat_line(),
            &[
                "%7|1.2|JOINGROUP|x| [thrd:main]: JoinGroup response: GenerationId -1, Protocol , LeaderId ",
                "%7|1.3|JOINGROUP|x| [thrd:main]: JoinGroup response: GenerationId 5, Protocol range, LeaderId y",
                "% Group g rebalanced (memberid rdkafka-1): assigned: t [0], t [11]",
                "% Group g rebalanced: incremental revoke of 1 partition(s) (memberid x, COOPERATIVE rebalance protocol): t [0]",
                "% Group g rebalanced: incremental assignment of 0 partition(s) (memberid x, COOPERATIVE rebalance protocol): ",
            ],
        );
        let later = Change::Assigned {
            generation: 5,
            partitions: vec![11],
        };
        journal.changed("b", &later);
        journal.with(|told| {
            assert_eq!(told.ownership.owners()[&11], ["a", "b"]);
            assert_eq!(told.ownership.overlaps().len(), 1);
        });
    }
}
