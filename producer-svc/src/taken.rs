//! An id that came with other content is refused where this instance knows it: the first order or event of an id counts,
//! and the other one would be a dead letter, or pass for a repeat.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use kafka::ProduceError;
use parking_lot::Mutex;
use service::http::{FieldProblem, Problem, StatusCode};
use service::recent::{Entry, Known, Recent};

/// The ids that this instance has taken lately, with a hash of what came under them. Clones share them.
///
/// Invariant: an id is free for other content only when nothing that came under it is or may be in the log, or is still
/// on its way there. Its first one frees it when it fails, but where repeats are on their way, the last of these does.
#[derive(Clone, Debug)]
pub(crate) struct Taken(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    recent: Recent,
    /// Ids with repeats that are on their way.
    repeated: Mutex<HashMap<Entry, Repeats>>,
}

/// The repeats of one id that are on their way.
#[derive(Debug, Default)]
struct Repeats {
    count: usize,
    /// Whether the first one has failed meanwhile, and is not in the log.
    first_failed: bool,
}

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
    /// The same content came before, and what became of that is not known here. Counted in [`Inner::repeated`].
    Repeat(Entry),
    /// The same content came before, and is or may be in the log.
    Settled,
}

impl Taken {
    /// Remembers up to `capacity` ids.
    pub(crate) fn new(capacity: usize) -> Self {
        Self(Arc::new(Inner {
            recent: Recent::new(capacity),
            repeated: Mutex::default(),
        }))
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
            IdOrigin::Given | IdOrigin::Key => self.0.meet(self.0.recent.entry(id, content)),
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

impl Inner {
    /// `None`: the id came with other content.
    fn meet(&self, entry: Entry) -> Option<Claimed> {
        let claimed = |known| match known {
            Known::New => Some(Claimed::First(entry)),
            Known::Open(_) => Some(Claimed::Repeat(entry)),
            Known::Settled => Some(Claimed::Settled),
            Known::Conflict => None,
        };
        match self.recent.meet(entry) {
            // Again, with the lock under which ids are freed: this one may just be.
            Known::Open(_) => {
                let mut repeated = self.repeated.lock();
                let claimed = claimed(self.recent.meet(entry));
                if let Some(Claimed::Repeat(_)) = claimed {
                    repeated.entry(entry).or_default().count += 1;
                }
                claimed
            }
            known => claimed(known),
        }
    }

    /// The first one is in the log. Nobody but itself and its repeats releases its id; repeats of one that was forgotten
    /// meanwhile, and came again as this one, would.
    fn first_succeeded(&self, entry: Entry) {
        if self.repeated.lock().contains_key(&entry) {
            self.recent.settle(entry);
        }
    }

    /// The first one is not in the log.
    fn first_failed(&self, entry: Entry) {
        match self.repeated.lock().get_mut(&entry) {
            Some(repeats) => repeats.first_failed = true,
            None => self.recent.release(entry),
        }
    }

    /// A repeat is not on its way any more. It is or may be in the log, or it is not.
    fn repeat_ended(&self, entry: Entry, in_log: bool) {
        let mut repeated = self.repeated.lock();
        if in_log {
            self.recent.settle(entry);
        }
        let Some(repeats) = repeated.get_mut(&entry) else {
            return;
        };
        repeats.count -= 1;
        if repeats.count == 0 {
            if repeats.first_failed {
                // Not where one of them was settled.
                self.recent.release(entry);
            }
            repeated.remove(&entry);
        }
    }
}

impl Claim<'_> {
    /// What was claimed is in Kafka.
    pub(crate) fn succeeded(mut self) {
        self.ended(true);
    }

    /// What was claimed did not get into Kafka, as `error` says: another one may have the id, unless it may be there
    /// all the same, or a repeat of it is on its way there.
    pub(crate) fn failed(mut self, error: &ProduceError) {
        self.ended(error.may_be_written());
    }

    fn ended(&mut self, in_log: bool) {
        match std::mem::replace(&mut self.id, Claimed::Own) {
            Claimed::First(entry) if in_log => self.taken.0.first_succeeded(entry),
            Claimed::First(entry) => self.taken.0.first_failed(entry),
            Claimed::Repeat(entry) => self.taken.0.repeat_ended(entry, in_log),
            Claimed::Own | Claimed::Settled => {}
        }
    }
}

impl Drop for Claim<'_> {
    /// Nobody waits any longer, and what was sent may get into the log.
    fn drop(&mut self) {
        self.ended(true);
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
    fn an_id_is_not_freed_while_a_repeat_is_on_its_way() {
        for repeat_gets_through in [true, false] {
            let taken = Taken::new(10);
            let first = claim(&taken, "a").unwrap();
            let repeats = [(); 2].map(|()| claim(&taken, "a").unwrap());
            first.failed(&timeout(false));
            let [one, other] = repeats;
            one.failed(&timeout(false));
            // It would go out beside the other repeat.
            assert!(claim(&taken, "b").is_err());
            if repeat_gets_through {
                other.succeeded();
                assert!(claim(&taken, "b").is_err());
            } else {
                other.failed(&timeout(false));
                claim(&taken, "b").unwrap().succeeded();
                assert!(claim(&taken, "a").is_err());
            }
            assert!(taken.0.repeated.lock().is_empty());
        }
    }

    #[test]
    fn a_repeat_frees_no_id_that_was_forgotten_and_taken_again() {
        let taken = Taken::new(1);
        let first = claim(&taken, "a").unwrap();
        let repeat = claim(&taken, "a").unwrap();
        first.failed(&timeout(false));
        for other in ["2", "3", "4"] {
            let id = ("order", other);
            let claim = taken.claim(IdOrigin::Given, id, "c", "order", "orderId");
            claim.unwrap().succeeded();
        }
        let again = claim(&taken, "a").unwrap();
        assert!(matches!(again.id, Claimed::First(_)), "it was forgotten");
        again.succeeded();
        repeat.failed(&timeout(false));
        assert!(claim(&taken, "b").is_err());
    }

    #[test]
    fn what_nobody_waits_for_keeps_its_id() {
        let taken = Taken::new(10);
        let first = claim(&taken, "a").unwrap();
        drop(claim(&taken, "a").unwrap());
        first.failed(&timeout(false));
        assert!(claim(&taken, "b").is_err());
        assert!(taken.0.repeated.lock().is_empty());
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
