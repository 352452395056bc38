//! An id that came with other content is refused where this instance knows it: the first order or event of an id counts,
//! and the other one would be a dead letter, or pass for a repeat.

use std::hash::Hash;
use std::sync::Arc;

use kafka::ProduceError;
use service::http::{FieldProblem, Problem, StatusCode};
use service::recent::{Entry, Known, Recent};

/// The ids that this instance has taken lately, with a hash of what came under them. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Taken(Arc<Recent>);

/// Where an id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdOrigin {
    /// Nobody can have used it before.
    New,
    /// The body has it.
    Given,
    /// Made of the `Idempotency-Key`.
    Key,
}

/// An id that this instance is taking, or has taken.
#[derive(Debug)]
#[must_use = "what came of it is to be said"]
pub(crate) struct Claim<'a> {
    taken: &'a Taken,
    id: Claimed,
}

#[derive(Debug)]
enum Claimed {
    /// Nobody else can have it.
    Own,
    /// The first of its content.
    First(Entry),
    /// The same content came before, and what became of that is not known here.
    Repeat(Entry),
    /// The same content came before, and is or may be in the log.
    Settled,
}

impl Taken {
    /// Remembers up to `capacity` ids.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Recent::new(capacity)))
    }

    /// Claims `id` for `content`.
    ///
    /// # Errors
    /// The problem to answer where it came with other content before: 409, or 422 where the id is made of the
    /// `Idempotency-Key`. `what` is what it is the id of (order, event); `member` is what the id is called.
    pub(crate) fn claim(
        &self,
        origin: IdOrigin,
        id: (&'static str, &str),
        content: impl Hash,
        what: &'static str,
        member: &str,
    ) -> Result<Claim<'_>, Problem> {
        let claimed = match origin {
            IdOrigin::New => Some(Claimed::Own),
            IdOrigin::Given | IdOrigin::Key => {
                let entry = self.0.entry(id, content);
                match self.0.meet(entry) {
                    Known::New => Some(Claimed::First(entry)),
                    Known::Open(_) => Some(Claimed::Repeat(entry)),
                    Known::Settled => Some(Claimed::Settled),
                    Known::Conflict => None,
                }
            }
        };
        if let Some(claimed) = claimed {
            return Ok(Claim {
                taken: self,
                id: claimed,
            });
        }
        let problem = match origin {
            IdOrigin::Key => Problem::unprocessable(vec![FieldProblem::new(
                "Idempotency-Key",
                format!(
                    "came with another {what} before; send the same {what} again, or use another key"
                ),
            )]),
            _ => Problem::new(
                StatusCode::CONFLICT,
                format!("another {what} came with this id before; use another id"),
            ),
        };
        Err(problem.with(member, id.1))
    }
}

impl Claim<'_> {
    /// What was claimed is in Kafka. A first one needs no note of it, since nobody but itself releases it; its repeat
    /// does: the first one may fail after it, or have failed before.
    pub(crate) fn succeeded(self) {
        if let Claimed::Repeat(entry) = self.id {
            self.taken.0.settle(entry);
        }
    }

    /// What was claimed did not get into Kafka, as `error` says: another one may have the id, unless it may be there
    /// all the same. A repeat frees nothing: its first one may still be on its way.
    pub(crate) fn failed(self, error: &ProduceError) {
        if error.may_be_written() {
            self.succeeded();
        } else if let Claimed::First(entry) = self.id {
            self.taken.0.release(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn claim<'a>(taken: &'a Taken, content: &str) -> Result<Claim<'a>, Problem> {
        let id = ("order", "1");
        taken.claim(IdOrigin::Given, id, content, "order", "orderId")
    }

    fn timeout(may_be_written: bool) -> ProduceError {
        ProduceError::Timeout {
            topic: "t".into(),
            partition: None,
            elapsed: Duration::from_secs(5),
            may_be_written,
            cause: None,
        }
    }

    #[test]
    fn what_a_repeat_got_into_the_log_keeps_its_id() {
        // The first one fails before its repeat is acknowledged, or after it.
        for fails_first in [true, false] {
            let taken = Taken::new(10);
            let first = claim(&taken, "a").unwrap();
            let repeat = claim(&taken, "a").unwrap();
            if fails_first {
                first.failed(&timeout(false));
                repeat.succeeded();
            } else {
                repeat.succeeded();
                first.failed(&timeout(false));
            }
            let other = claim(&taken, "b").unwrap_err();
            assert_eq!(other.status(), StatusCode::CONFLICT, "{fails_first}");
            claim(&taken, "a").unwrap().failed(&timeout(false));
            assert!(claim(&taken, "b").is_err());
        }
    }

    #[test]
    fn a_repeat_that_may_be_in_the_log_keeps_its_id() {
        let taken = Taken::new(10);
        let first = claim(&taken, "a").unwrap();
        let repeat = claim(&taken, "a").unwrap();
        first.failed(&timeout(false));
        repeat.failed(&timeout(true));
        assert!(claim(&taken, "b").is_err());
    }

    #[test]
    fn what_is_nowhere_leaves_its_id_free() {
        let taken = Taken::new(10);
        let first = claim(&taken, "a").unwrap();
        // A repeat says nothing of the first one, which may still be on its way.
        claim(&taken, "a").unwrap().failed(&timeout(false));
        assert!(claim(&taken, "b").is_err());
        first.failed(&timeout(false));
        claim(&taken, "b").unwrap().succeeded();
        assert!(claim(&taken, "a").is_err());
    }

    #[test]
    fn a_key_that_is_used_is_a_field_that_is_wrong() {
        let taken = Taken::new(10);
        let claim = |content| {
            let id = ("order", "1");
            taken.claim(IdOrigin::Key, id, content, "order", "orderId")
        };
        claim("a").unwrap().succeeded();
        let problem = claim("b").unwrap_err();
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let problem = format!("{problem:?}");
        assert!(problem.contains("\"Idempotency-Key\""), "{problem}");
    }
}
