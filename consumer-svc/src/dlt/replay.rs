//! Sends dead letters to their source topics once more: each once, whatever happens to the command and
//! however many operators do it at the same moment.
//!
//! Kafka has no lock that would hold up a command which stands still in the wrong moment, so nobody owns
//! a replay. It has a name instead, a producer id of its own, and the broker takes the batch that a
//! producer id begins with once:
//!
//! 1. Letters with a marker have been replayed. So have those whose replay is found in the source
//!    topic, by its header; they get the marker that is missing.
//! 2. For each other letter without a claim, one is written behind it: a new producer id, and the
//!    partition that it goes to.
//! 3. The dead-letter topic is read on to its end. The first claim of a letter counts.
//! 4. The record is sent under the claim's id to the claim's partition. When that is acknowledged, the
//!    marker says where it lies.
//!
//! What holds, wherever a command is killed or stands still between any two steps, or in the middle of
//! one:
//!
//! - *One claim.* A claim is below the end of its partition once it is acknowledged, so that step 3 sees
//!   it and all before it: everybody finds the same first one.
//! - *One record.* Nobody sends a letter but under its first claim. The second such batch, a request of a
//!   dead command that arrives late among them, is answered with the place of the first.
//! - *Nothing to wait for.* A claim says nothing of its writer. Where one died, the next command sends
//!   under the claim that is there; was the record written before, it learns where it lies.
//! - *A marker is true.* It comes after the acknowledgement, and after a look at the record.
//!
//! The broker forgets a producer id `producer.id.expiration.ms` (a day by default) after its record was
//! written; step 1 comes before step 4 in every command and finds what was written before it began. So a
//! letter is sent twice only by a command that stands still for that long between the two. `--force`
//! replays without a claim, as often as it is said.

use std::collections::HashMap;
use std::io::Write;

use proto::dead_letter::Place;

use super::DltError;
use super::claim::Claim;
use super::letter::{Entry, Letter, Marker};
use super::mailbox::{Mailbox, Survey};

/// Replays one letter, once: again only by `force`.
pub async fn one(
    mailbox: &Mailbox,
    place: &Place,
    force: bool,
    out: &mut impl Write,
) -> Result<(), DltError> {
    let letter = mailbox.letter(place).await?;
    if force {
        let claim = mailbox.new_claim(&letter.place, &letter.source).await?;
        return replay(mailbox, &letter, &claim, out).await;
    }
    let mut survey = mailbox.survey(std::slice::from_ref(&place.topic)).await?;
    survey.open.retain(|open, _| open == place);
    let mut work = Work::prepare(mailbox, survey).await?;
    if let Some(replayed_to) = work.replayed.get(place) {
        return Err(DltError::AlreadyReplayed {
            letter: place.clone(),
            replayed_to: replayed_to.clone(),
        });
    }
    if !work.concerns(place) {
        // Retention has taken it meanwhile.
        return Err(DltError::NoLetter(place.clone()));
    }
    work.finish(mailbox, &letter, out).await.map(drop)
}

/// Replays all letters of one topic or of all that have not been replayed. One that cannot be is named
/// and left open, and the others go on.
///
/// # Errors
/// [`DltError::NotAll`] after all have had their turn; at once what would keep the others too.
pub async fn all(
    mailbox: &Mailbox,
    topic: Option<&str>,
    out: &mut impl Write,
) -> Result<(), DltError> {
    let topics = mailbox.topics(topic).await?;
    let mut work = Work::prepare(mailbox, mailbox.survey(&topics).await?).await?;
    let mut replayed = 0_u64;
    let mut failed = 0_u64;
    let mut scan = mailbox.scan(&topics).await?;
    while let Some(records) = scan.next().await? {
        for record in records {
            let Entry::Letter(letter) = Entry::of(record) else {
                continue;
            };
            match work.finish(mailbox, &letter, out).await {
                Ok(now) => replayed += u64::from(now),
                Err(error) if error.is_of_one_letter() => {
                    failed += 1;
                    let _ = writeln!(out, "{error}");
                }
                Err(error) => return Err(error),
            }
        }
    }
    let _ = writeln!(out, "{replayed} dead letters replayed");
    match failed {
        0 => Ok(()),
        _ => Err(DltError::NotAll(failed)),
    }
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
    refused: HashMap<Place, DltError>,
}

impl Work {
    /// Steps 1 to 3 for the open letters of `survey`.
    async fn prepare(mailbox: &Mailbox, mut survey: Survey) -> Result<Self, DltError> {
        let landed = mailbox.replays(&survey).await?;
        let mut letters = survey.open.clone();
        letters.retain(|letter, _| !landed.contains_key(letter));
        let mut refused = HashMap::new();
        for (letter, source) in &letters {
            if survey.claims.contains_key(letter) {
                continue;
            }
            match claim(mailbox, letter, source).await {
                Ok(()) => {}
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

    /// Whether something is to be done about a letter.
    fn concerns(&self, letter: &Place) -> bool {
        self.landed.contains_key(letter)
            || self.claimed.contains_key(letter)
            || self.refused.contains_key(letter)
    }

    /// Step 4, or the marker alone. Whether the letter was replayed now.
    async fn finish(
        &mut self,
        mailbox: &Mailbox,
        letter: &Letter,
        out: &mut impl Write,
    ) -> Result<bool, DltError> {
        let place = &letter.place;
        if let Some(replayed_to) = self.landed.get(place) {
            mark(mailbox, letter, replayed_to).await?;
            let _ = writeln!(
                out,
                "{place} had been replayed to {replayed_to}; its missing marker is written"
            );
        } else if let Some(claim) = self.claimed.get(place) {
            replay(mailbox, letter, claim, out).await?;
            return Ok(true);
        } else if let Some(error) = self.refused.remove(place) {
            return Err(error);
        }
        Ok(false)
    }
}

async fn claim(mailbox: &Mailbox, letter: &Place, source: &Place) -> Result<(), DltError> {
    let claim = mailbox.new_claim(letter, source).await?;
    mailbox.write_claim(&claim).await
}

async fn replay(
    mailbox: &Mailbox,
    letter: &Letter,
    claim: &Claim,
    out: &mut impl Write,
) -> Result<(), DltError> {
    let replayed_to = mailbox.send(letter, claim).await?;
    mark(mailbox, letter, &replayed_to).await?;
    let _ = writeln!(out, "{} replayed to {replayed_to}", letter.place);
    Ok(())
}

async fn mark(mailbox: &Mailbox, letter: &Letter, replayed_to: &Place) -> Result<(), DltError> {
    let marker = Marker {
        replay_of: letter.place.clone(),
        replayed_to: replayed_to.clone(),
    };
    mailbox.write_marker(&marker, letter.key.as_deref()).await
}
