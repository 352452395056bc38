//! Proves from a history that nothing was lost, invented or reordered, or names the offender.
//!
//! What is held against a run:
//!
//! 1. an order answered with 200 lies where its receipt says;
//! 2. every order in the log has one outcome: final statuses of one order agree;
//! 3. its CREATED lies before its first final status, in the same partition;
//! 4. it has a notification that says its outcome, and exactly one is stored;
//! 5. nothing tells of an order that is in no log;
//! 6. a record that is there twice is explained: an order by as many requests, an event by its
//!    order being there twice or by a fault between the first copy and the last;
//! 7. no commit was seen before everything below it was handled;
//! 8. commits do not go back, and in the end they are at the log's end;
//! 9. a record of the status topic or that of notifications that is no event was put there by the
//!    run itself, and has become a dead letter of the group that reads it;
//! 10. where a run holds intake to it: every request is answered in time, and one that is refused
//!     is told by 503 to come again, when, and under which id.

mod answers;
mod commits;
mod duplicates;
mod index;
mod orders;
mod strangers;
mod verdict;

pub use duplicates::Duplicates;
pub use verdict::{Verdict, Violation};

use crate::history::History;
use index::Index;

/// Looks for everything that a history should not hold.
pub fn check(history: &History) -> Verdict {
    let index = Index::new(history);
    let mut violations = orders::receipts(history, &index);
    violations.extend(answers::in_time(history));
    violations.extend(orders::outcomes(history, &index));
    violations.extend(orders::notifications(history, &index));
    violations.extend(orders::phantoms(history, &index));
    violations.extend(strangers::put_aside(history, &index));
    violations.extend(commits::past_unhandled(history, &index));
    violations.extend(commits::backwards(history));
    violations.extend(commits::lag(history));
    let (duplicates, unexplained) = duplicates::count(history, &index);
    violations.extend(unexplained);
    Verdict {
        orders: index.orders.len(),
        accepted: index.accepted,
        requests: history.requests.len(),
        commits: history.commits.len(),
        duplicates,
        violations,
    }
}

#[cfg(test)]
mod tests;
