//! An id that came with other content is refused where this instance knows it: the first order or event of an id counts,
//! and the other one would be a dead letter, or pass for a repeat.

use std::hash::Hash;
use std::sync::Arc;

use kafka::ProduceError;
use service::http::{Problem, StatusCode};
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
#[must_use = "to be released where nothing came of it"]
pub(crate) struct Claim<'a> {
    taken: &'a Taken,
    /// None: it was known before, with the same content.
    new: Option<Entry>,
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
        let (new, conflict) = match origin {
            IdOrigin::New => (None, false),
            IdOrigin::Given | IdOrigin::Key => {
                let entry = self.0.entry(id, content);
                match self.0.meet(entry) {
                    Known::New => (Some(entry), false),
                    Known::Open(_) | Known::Settled => (None, false),
                    Known::Conflict => (None, true),
                }
            }
        };
        if !conflict {
            return Ok(Claim { taken: self, new });
        }
        let problem = match origin {
            IdOrigin::Key => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                format!(
                    "this Idempotency-Key came with another {what} before; send the same {what} again, or use \
                     another key"
                ),
            ),
            _ => Problem::new(
                StatusCode::CONFLICT,
                format!("another {what} came with this id before; use another id"),
            ),
        };
        Err(problem.with(member, id.1))
    }
}

impl Claim<'_> {
    /// What was claimed did not get into Kafka, as `error` says: another one may have the id, unless it may be there
    /// all the same.
    pub(crate) fn failed(self, error: &ProduceError) {
        if let Some(entry) = self.new
            && !error.may_be_written()
        {
            self.taken.0.release(entry);
        }
    }
}
