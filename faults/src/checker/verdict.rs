//! What a checked history is found to be.

use std::fmt;

use kafka::TopicPartition;
use proto::FinalStatus;

use super::duplicates::Duplicates;
use crate::history::{Group, Millis, Place, Refusal};

/// How many violations are printed one by one.
const SHOWN: usize = 20;

/// The result of checking a history.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Orders that the history tells of.
    pub orders: usize,
    /// Orders that were answered with 200.
    pub accepted: usize,
    pub requests: usize,
    pub commits: usize,
    pub duplicates: Duplicates,
    pub violations: Vec<Violation>,
}

impl Verdict {
    /// # Panics
    /// When there is a violation, naming each.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.violations.is_empty(), "{self}");
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} orders, {} accepted in {} requests, {} commits seen; duplicates: {}; violations: {}",
            self.orders,
            self.accepted,
            self.requests,
            self.commits,
            self.duplicates,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(SHOWN) {
            write!(f, "\n- {violation}")?;
        }
        if self.violations.len() > SHOWN {
            write!(f, "\n- and {} more", self.violations.len() - SHOWN)?;
        }
        Ok(())
    }
}

/// Something that must not happen, and where it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Answered with 200, but not where the receipt says.
    FalseReceipt {
        order: String,
        receipt: Place,
        found: Option<String>,
    },
    /// Asked for, and not answered in time.
    NotAnswered {
        order: String,
        sent: Millis,
        took: Millis,
    },
    /// Refused without saying what to do.
    BadRefusal { order: String, refusal: Refusal },
    /// In the log, and never ended.
    NoOutcome { order: String, placed: Place },
    /// Confirmed and rejected.
    TwoOutcomes {
        order: String,
        first: (FinalStatus, Place),
        second: (FinalStatus, Place),
    },
    /// Ended before it was created.
    OutOfOrder {
        order: String,
        created: Option<Place>,
        ended: Place,
    },
    /// Ended, and no notification says so.
    NotTold { order: String },
    /// A notification says something else than the status.
    ToldOtherwise {
        order: String,
        end: FinalStatus,
        told: (FinalStatus, Place),
    },
    /// Not stored once, with its outcome.
    Stored {
        order: String,
        end: FinalStatus,
        stored: Vec<FinalStatus>,
    },
    /// An event of an order that is in no log.
    Phantom { order: String, place: Place },
    /// No event of ours, and not put there by the run.
    Stranger { place: Place },
    /// No event, and no dead letter of who reads it.
    NotPutAside { place: Place, reader: Group },
    /// More copies than anything explains.
    UnexplainedDuplicate { order: String, copies: Vec<Place> },
    /// A commit was seen before what lies below it was handled.
    CommitPastUnhandled {
        group: Group,
        offset: i64,
        seen: Millis,
        unhandled: Place,
        /// When it was handled after all.
        handled: Option<Millis>,
    },
    /// A later commit is lower.
    CommitWentBack {
        group: Group,
        partition: TopicPartition,
        before: i64,
        offset: i64,
    },
    /// Not everything is committed in the end.
    Lag {
        group: Group,
        partition: TopicPartition,
        committed: i64,
        end: i64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FalseReceipt {
                order,
                receipt,
                found,
            } => {
                let found = found.as_deref().unwrap_or("nothing");
                write!(
                    f,
                    "order {order}: its receipt says {receipt}, where {found} lies"
                )
            }
            Self::NotAnswered { order, sent, took } => write!(
                f,
                "order {order}, asked for at {sent}, had no answer in time but after {took} ms"
            ),
            Self::BadRefusal { order, refusal } => write!(
                f,
                "order {order} was refused without 503, Retry-After and its id: {refusal:?}"
            ),
            Self::NoOutcome { order, placed } => {
                write!(f, "order {order} at {placed} has no outcome")
            }
            Self::TwoOutcomes {
                order,
                first: (first, at),
                second: (second, then),
            } => write!(
                f,
                "order {order} is {first:?} at {at} and {second:?} at {then}"
            ),
            Self::OutOfOrder {
                order,
                created: Some(created),
                ended,
            } => write!(
                f,
                "order {order} ended at {ended}, was created at {created}"
            ),
            Self::OutOfOrder { order, ended, .. } => {
                write!(f, "order {order} ended at {ended} and was never created")
            }
            Self::NotTold { order } => write!(f, "order {order} has no notification"),
            Self::ToldOtherwise {
                order,
                end,
                told: (told, place),
            } => write!(
                f,
                "order {order} is {end:?}, and {told:?} in its notification at {place}"
            ),
            Self::Stored { order, end, stored } => {
                write!(f, "order {order} is {end:?}, stored of it is {stored:?}")
            }
            Self::Phantom { order, place } => {
                write!(f, "{place} tells of order {order}, which is in no log")
            }
            Self::Stranger { place } => {
                write!(f, "{place} holds no event, and no run put it there")
            }
            Self::NotPutAside { place, reader } => {
                write!(
                    f,
                    "{place} holds no event, and {reader} has no dead letter of it"
                )
            }
            Self::UnexplainedDuplicate { order, copies } => {
                write!(f, "order {order} has copies that nothing explains:")?;
                copies.iter().try_for_each(|copy| write!(f, " {copy}"))
            }
            Self::CommitPastUnhandled {
                group,
                offset,
                seen,
                unhandled,
                handled,
            } => {
                write!(
                    f,
                    "{group} had committed {offset} at {seen}, and {unhandled} was "
                )?;
                match handled {
                    Some(handled) => write!(f, "handled only at {handled}"),
                    None => f.write_str("never handled"),
                }
            }
            Self::CommitWentBack {
                group,
                partition,
                before,
                offset,
            } => write!(
                f,
                "{group} committed {before} of {partition}, then {offset}"
            ),
            Self::Lag {
                group,
                partition,
                committed,
                end,
            } => write!(
                f,
                "{group} ended at {committed} of {partition}, which ends at {end}"
            ),
        }
    }
}
