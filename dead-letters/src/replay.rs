//! Sends dead letters to their source topics once more: each once, whatever happens to the command and
//! however many operators do it at the same moment.
//!
//! Kafka has no lock that would hold up a command which stands still in the wrong moment, so nobody owns
//! a replay. It has a name instead, a producer id of its own, and the broker takes the batch that a
//! producer id begins with once:
//!
//! 1. Letters with a marker have been replayed. So have those with a claim whose replay is found in the
//!    source topic, by its header, at or behind the offset that the claim says; they get the marker that is
//!    missing.
//! 2. For each other letter without a claim, one is written behind it: a new producer id, the partition
//!    that it goes to, and where that ends.
//! 3. The dead-letter topic is read on to its end. The first claim of a letter counts.
//! 4. The record is sent under the claim's id to the claim's partition. When that is acknowledged, the
//!    marker says where it lies.
//!
//! What holds, wherever a program is killed or stands still between any two steps, or in the middle of
//! one:
//!
//! - *One claim.* A claim is below the end of its partition once it is acknowledged, so that step 3 sees
//!   it and all before it: everybody finds the same first one.
//! - *Nothing without a claim.* A letter is sent when its claim is acknowledged, with `--force` too. So a
//!   letter without one has not been sent, and no replay lies before the offset that its claim says.
//! - *One record.* Without `--force` nobody sends a letter but under its first claim. The second such
//!   batch, a request of a dead command that arrives late among them, is answered with the place of the
//!   first.
//! - *Nothing to wait for.* A claim says nothing of its writer. Where one died, the next command sends
//!   under the claim that is there; was the record written before, it learns where it lies.
//! - *A marker is true.* It comes after the acknowledgement, and after a look at the record.
//!
//! The broker forgets a producer id `producer.id.expiration.ms` (a day by default) after its record was
//! written; step 1 comes before step 4 in every command and finds what was written before it began. So a
//! letter is sent twice only by a command that stands still for that long between the two. `--force`
//! replays under a claim of its own, as often as it is said.

use std::collections::HashMap;
use std::fmt;

use proto::dead_letter::Place;

use crate::DeadLetterError;
use crate::claim::Claim;
use crate::letter::{Entry, Letter, Marker};
use crate::mailbox::{Mailbox, Survey};

/// What became of a letter; its text is a line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// It was sent.
    Now { letter: Place, replayed_to: Place },
    /// It had been sent before, and lacked its marker.
    Before { letter: Place, replayed_to: Place },
}

impl Replayed {
    /// Where its record lies now.
    pub fn replayed_to(&self) -> &Place {
        match self {
            Self::Now { replayed_to, .. } | Self::Before { replayed_to, .. } => replayed_to,
        }
    }
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now {
                letter,
                replayed_to,
            } => write!(f, "{letter} replayed to {replayed_to}"),
            Self::Before {
                letter,
                replayed_to,
            } => write!(
                f,
                "{letter} had been replayed to {replayed_to}; its missing marker is written"
            ),
        }
    }
}

/// Replays one letter, once: again only by `force`.
///
/// # Errors
/// [`DeadLetterError::AlreadyReplayed`], [`DeadLetterError::NoLetter`], and what kept it from being
/// replayed.
///
/// # Cancellation
/// Safe at any point, as if the program had been killed: the next replay finishes it.
pub async fn one(
    mailbox: &Mailbox,
    place: &Place,
    force: bool,
) -> Result<Replayed, DeadLetterError> {
    let letter = mailbox.letter(place).await?;
    if let Some(last) = letter.passed_over() {
        return Err(DeadLetterError::PassedOver {
            letter: letter.place,
            source_place: letter.source,
            last,
        });
    }
    if force {
        let claim = claim(mailbox, &letter.place, &letter.source).await?;
        return replay(mailbox, &letter, &claim).await;
    }
    let mut work = Work::prepare(mailbox, mailbox.survey_one(place).await?).await?;
    if let Some(replayed_to) = work.replayed.get(place) {
        return Err(DeadLetterError::AlreadyReplayed {
            letter: place.clone(),
            replayed_to: replayed_to.clone(),
        });
    }
    let finished = work.finish(mailbox, &letter).await?;
    // None: retention has taken it meanwhile.
    finished.ok_or_else(|| DeadLetterError::NoLetter(place.clone()))
}

/// How [`all`] went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sent now.
    pub replayed: u64,
    /// Left open.
    pub failed: u64,
}

/// Replays all letters of one topic or of all that have not been replayed, and tells `each` what
/// became of it. One that cannot be is named and left open, and the others go on.
///
/// # Errors
/// At once what would keep the others too.
pub async fn all(
    mailbox: &Mailbox,
    topic: Option<&str>,
    mut each: impl FnMut(Result<Replayed, DeadLetterError>),
) -> Result<Tally, DeadLetterError> {
    let topics = mailbox.topics(topic).await?;
    let mut work = Work::prepare(mailbox, mailbox.survey(&topics).await?).await?;
    let mut tally = Tally::default();
    let mut scan = mailbox.scan(&topics).await?;
    while let Some(records) = scan.next().await? {
        for record in records {
            let Entry::Letter(letter) = Entry::of(record) else {
                continue;
            };
            match work.finish(mailbox, &letter).await {
                Ok(None) => {}
                Ok(Some(replayed)) => {
                    tally.replayed += u64::from(matches!(replayed, Replayed::Now { .. }));
                    each(Ok(replayed));
                }
                Err(error) if error.is_of_one_letter() => {
                    tally.failed += 1;
                    each(Err(error));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(tally)
}

/// What is to be done about letters.
struct Work {
    /// Those with a marker, and where they were replayed to.
    replayed: HashMap<Place, Place>,
    /// Those that lack nothing but the marker, and where they were replayed to.
    landed: HashMap<Place, Place>,
    /// Those to be sent, and how.
    claimed: HashMap<Place, Claim>,
    /// Those that nobody could make a claim for, and why.
    refused: HashMap<Place, DeadLetterError>,
}

impl Work {
    /// Steps 1 to 3 for the open letters of `survey`.
    async fn prepare(mailbox: &Mailbox, mut survey: Survey) -> Result<Self, DeadLetterError> {
        let landed = mailbox.replays(&survey).await?;
        let mut letters = survey.open.clone();
        letters.retain(|letter, _| !landed.contains_key(letter));
        let mut refused = HashMap::new();
        for (letter, source) in &letters {
            if survey.claims.contains_key(letter) {
                continue;
            }
            match claim(mailbox, letter, source).await {
                Ok(_) => {}
                Err(error) if error.is_of_one_letter() => {
                    refused.insert(letter.clone(), error);
                }
                Err(error) => return Err(error),
            }
        }
        mailbox.read_on(&mut survey).await?;
        let Survey {
            replayed, claims, ..
        } = survey;
        let to_be_sent =
            |letter: &Place| letters.contains_key(letter) && !replayed.contains_key(letter);
        // Somebody else may have got further meanwhile.
        refused.retain(|letter, _| to_be_sent(letter));
        let claims = claims.into_iter();
        Ok(Self {
            claimed: claims.filter(|(letter, _)| to_be_sent(letter)).collect(),
            refused,
            replayed,
            landed,
        })
    }

    /// Step 4, or the marker alone; `None` where nothing was to be done.
    async fn finish(
        &mut self,
        mailbox: &Mailbox,
        letter: &Letter,
    ) -> Result<Option<Replayed>, DeadLetterError> {
        let place = &letter.place;
        if let Some(replayed_to) = self.landed.get(place) {
            mark(mailbox, letter, replayed_to).await?;
            return Ok(Some(Replayed::Before {
                letter: place.clone(),
                replayed_to: replayed_to.clone(),
            }));
        }
        if let Some(claim) = self.claimed.get(place) {
            return replay(mailbox, letter, claim).await.map(Some);
        }
        match self.refused.remove(place) {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }
}

async fn claim(
    mailbox: &Mailbox,
    letter: &Place,
    source: &Place,
) -> Result<Claim, DeadLetterError> {
    let claim = mailbox.new_claim(letter, source).await?;
    mailbox.write_claim(&claim).await?;
    Ok(claim)
}

async fn replay(
    mailbox: &Mailbox,
    letter: &Letter,
    claim: &Claim,
) -> Result<Replayed, DeadLetterError> {
    let replayed_to = mailbox.send(letter, claim).await?;
    mark(mailbox, letter, &replayed_to).await?;
    Ok(Replayed::Now {
        letter: letter.place.clone(),
        replayed_to,
    })
}

async fn mark(
    mailbox: &Mailbox,
    letter: &Letter,
    replayed_to: &Place,
) -> Result<(), DeadLetterError> {
    let marker = Marker {
        replay_of: letter.place.clone(),
        replayed_to: replayed_to.clone(),
    };
    mailbox.write_marker(&marker, letter.key.as_deref()).await
}
