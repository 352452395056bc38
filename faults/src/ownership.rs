//! Who owned which partition of a group, by what its members say, and whether ever two did at once.
//!
//! Measured in generations, which all members share, not in times, which each has its own of: a member
//! owns a partition from the generation in which it was assigned to the one in which it let go of it.

use std::collections::BTreeMap;

mod change;

pub use self::change::Change;

/// The ownership of one group's partitions, as far as it is told.
#[derive(Debug, Default)]
pub struct Ownership {
    spans: Vec<Span>,
    /// The latest generation each member is known to have been in.
    generations: BTreeMap<String, i32>,
}

#[derive(Debug, PartialEq, Eq)]
struct Span {
    member: String,
    partition: i32,
    from: i32,
    /// `None`: still.
    until: Option<i32>,
}

impl Ownership {
    /// Takes in what a member says, in the order in which it says it.
    pub fn note(&mut self, member: &str, change: &Change) {
        match change {
            Change::Assigned {
                generation,
                partitions,
            } => {
                self.generations.insert(member.to_owned(), *generation);
                for partition in partitions {
                    self.close(member, |owned| owned == *partition, *generation);
                    self.spans.push(Span {
                        member: member.to_owned(),
                        partition: *partition,
                        from: *generation,
                        until: None,
                    });
                }
            }
            Change::Revoked {
                generation,
                partitions,
            } => self.close(member, |owned| partitions.contains(&owned), *generation),
            Change::Lost { partitions } => {
                let latest = self.latest(member);
                self.close(member, |owned| partitions.contains(&owned), latest);
            }
            Change::Gone => {
                let latest = self.latest(member);
                self.close(member, |_| true, latest);
            }
        }
    }

    /// The members that own each partition now.
    pub fn owners(&self) -> BTreeMap<i32, Vec<&str>> {
        let mut owners: BTreeMap<i32, Vec<&str>> = BTreeMap::new();
        for span in self.spans.iter().filter(|span| span.until.is_none()) {
            owners.entry(span.partition).or_default().push(&span.member);
        }
        owners
    }

    /// Whether the member ever owned the partition.
    pub fn ever_owned(&self, member: &str, partition: i32) -> bool {
        let of = |span: &Span| span.member == member && span.partition == partition;
        self.spans.iter().any(of)
    }

    /// Each pair of members that owned a partition in the same generation.
    pub fn overlaps(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (at, one) in self.spans.iter().enumerate() {
            for other in &self.spans[at + 1..] {
                let meet = one.from <= other.last() && other.from <= one.last();
                if meet && one.partition == other.partition && one.member != other.member {
                    found.push(format!("{one:?} and {other:?}"));
                }
            }
        }
        found
    }

    fn latest(&self, member: &str) -> i32 {
        self.generations.get(member).copied().unwrap_or(-1)
    }

    fn close(&mut self, member: &str, which: impl Fn(i32) -> bool, generation: i32) {
        let open = |span: &&mut Span| span.member == member && span.until.is_none();
        for span in self.spans.iter_mut().filter(open) {
            if which(span.partition) {
                span.until = Some(generation);
            }
        }
    }
}

impl Span {
    fn last(&self) -> i32 {
        self.until.unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(generation: i32, partitions: &[i32]) -> Change {
        Change::Assigned {
            generation,
            partitions: partitions.to_vec(),
        }
    }

    fn revoked(generation: i32, partitions: &[i32]) -> Change {
        Change::Revoked {
            generation,
            partitions: partitions.to_vec(),
        }
    }

    fn of(changes: &[(&str, Change)]) -> Ownership {
        let mut ownership = Ownership::default();
        for (member, change) in changes {
            ownership.note(member, change);
        }
        ownership
    }

    #[test]
    fn eager_members_hand_over_between_generations() {
        let ownership = of(&[
            ("a", assigned(1, &[0, 1])),
            ("a", revoked(1, &[0, 1])),
            ("b", assigned(2, &[1])),
            ("a", assigned(2, &[0])),
        ]);
        assert!(ownership.overlaps().is_empty());
        assert_eq!(
            ownership.owners(),
            BTreeMap::from([(0, vec!["a"]), (1, vec!["b"])])
        );
        assert!(ownership.ever_owned("a", 1) && !ownership.ever_owned("b", 0));
    }

    #[test]
    fn cooperative_members_hand_over_a_generation_later() {
        let early = of(&[
            ("a", assigned(1, &[0, 1])),
            ("b", assigned(2, &[1])),
            ("a", revoked(2, &[1])),
        ]);
        assert_eq!(early.overlaps().len(), 1, "in generation 2 both had it");
        let right = of(&[
            ("a", assigned(1, &[0, 1])),
            ("a", revoked(2, &[1])),
            ("b", assigned(3, &[1])),
        ]);
        assert!(right.overlaps().is_empty());
    }

    #[test]
    fn who_never_lets_go_overlaps_with_whoever_comes() {
        let ownership = of(&[("a", assigned(1, &[0])), ("b", assigned(7, &[0]))]);
        assert_eq!(ownership.overlaps().len(), 1);
        assert_eq!(ownership.owners()[&0], ["a", "b"]);
    }

    #[test]
    fn the_killed_and_the_fenced_owned_until_their_last_generation() {
        let killed = [("a", assigned(1, &[0])), ("a", assigned(2, &[]))];
        let ends = [
            Change::Gone,
            Change::Lost {
                partitions: vec![0],
            },
        ];
        for end in ends {
            let mut ownership = of(&killed);
            ownership.note("a", &end);
            ownership.note("b", &assigned(3, &[0]));
            assert!(ownership.overlaps().is_empty(), "{end:?}");
            let mut ownership = of(&killed);
            ownership.note("a", &end);
            ownership.note("b", &assigned(2, &[0]));
            assert_eq!(ownership.overlaps().len(), 1, "{end:?}");
        }
    }
}
