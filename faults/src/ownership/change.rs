//! What a member says of its partitions, and the line in which it says so.

use std::fmt;
use std::str::FromStr;

/// What a member says of its partitions.
///
/// As a line of a program: `assigned | revoked | lost GENERATION PARTITION…`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Added to what it owns.
    Assigned {
        generation: i32,
        partitions: Vec<i32>,
    },
    /// Let go of in order; the generation is the one it was still in.
    Revoked {
        generation: i32,
        partitions: Vec<i32>,
    },
    /// Told that they are no longer its own.
    Lost { partitions: Vec<i32> },
    /// Left, or was killed. Nobody says so of itself.
    Gone,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, generation, partitions) = match self {
            Self::Assigned {
                generation,
                partitions,
            } => ("assigned", *generation, &partitions[..]),
            Self::Revoked {
                generation,
                partitions,
            } => ("revoked", *generation, &partitions[..]),
            Self::Lost { partitions } => ("lost", -1, &partitions[..]),
            Self::Gone => ("gone", -1, &[][..]),
        };
        write!(f, "{what} {generation}")?;
        partitions
            .iter()
            .try_for_each(|partition| write!(f, " {partition}"))
    }
}

impl FromStr for Change {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = line.split(' ');
        let what = words.next().unwrap_or_default();
        let numbers: Result<Vec<i32>, _> = words.map(str::parse).collect();
        let Ok([generation, partitions @ ..]) = numbers.as_deref() else {
            return Err(());
        };
        let (generation, partitions) = (*generation, partitions.to_vec());
        match what {
            "assigned" => Ok(Self::Assigned {
                generation,
                partitions,
            }),
            "revoked" => Ok(Self::Revoked {
                generation,
                partitions,
            }),
            "lost" => Ok(Self::Lost { partitions }),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_it_was_made_of() {
        let changes = [
            Change::Assigned {
                generation: 3,
                partitions: vec![0, 11],
            },
            Change::Revoked {
                generation: 4,
                partitions: vec![],
            },
            Change::Lost {
                partitions: vec![2],
            },
        ];
        for change in changes {
            assert_eq!(change.to_string().parse(), Ok(change));
        }
        for other in ["", "assigned", "assigned x", "lost 1 y", "record 1 2"] {
            assert_eq!(other.parse::<Change>(), Err(()), "{other:?}");
        }
    }
}
