//! Sends dead letters to their source topics once more.
//!
//! The marker is written when the replay is acknowledged. A replay that died in between is found by
//! its header in the source topic, so that the next attempt writes the marker alone. Two operators
//! who replay the same letter at the same moment are not kept apart: the record is then there twice,
//! with one identity.

use std::collections::HashMap;
use std::io::Write;

use proto::dead_letter::Place;

use super::DltError;
use super::letter::{Entry, Letter, Marker};
use super::mailbox::Mailbox;

/// Replays one letter, once: again only by `force`.
pub async fn one(
    mailbox: &Mailbox,
    place: &Place,
    force: bool,
    out: &mut impl Write,
) -> Result<(), DltError> {
    let letter = mailbox.letter(place).await?;
    if !force {
        let topic = std::slice::from_ref(&place.topic);
        let replayed = mailbox.survey(topic).await?.replayed;
        if let Some(replayed_to) = replayed.get(place) {
            return Err(DltError::AlreadyReplayed {
                letter: place.clone(),
                replayed_to: replayed_to.clone(),
            });
        }
        let open = HashMap::from([(place.clone(), letter.source.clone())]);
        if let Some(replayed_to) = mailbox.replays(&open).await?.remove(place) {
            return mark_late(mailbox, &letter, replayed_to, out).await;
        }
    }
    let replayed_to = replay(mailbox, &letter).await?;
    let _ = writeln!(out, "{place} replayed to {replayed_to}");
    Ok(())
}

/// Replays all letters of one topic or of all that have not been replayed.
pub async fn all(
    mailbox: &Mailbox,
    topic: Option<&str>,
    out: &mut impl Write,
) -> Result<(), DltError> {
    let topics = mailbox.topics(topic).await?;
    let open = mailbox.survey(&topics).await?.open;
    let unmarked = mailbox.replays(&open).await?;
    let mut number = 0_u64;
    let mut scan = mailbox.scan(&topics).await?;
    while let Some(records) = scan.next().await? {
        for record in records {
            let letter = match Entry::of(record) {
                Entry::Letter(letter) if open.contains_key(&letter.place) => letter,
                _ => continue,
            };
            if let Some(replayed_to) = unmarked.get(&letter.place) {
                mark_late(mailbox, &letter, replayed_to.clone(), out).await?;
                continue;
            }
            let replayed_to = replay(mailbox, &letter).await?;
            let _ = writeln!(out, "{} replayed to {replayed_to}", letter.place);
            number += 1;
        }
    }
    let _ = writeln!(out, "{number} dead letters replayed");
    Ok(())
}

async fn replay(mailbox: &Mailbox, letter: &Letter) -> Result<Place, DltError> {
    let partition = mailbox.source_partition(letter).await?;
    let record = mailbox.complete(letter).await?;
    let replayed_to = mailbox
        .send(
            &letter.source.topic,
            partition,
            record.key.as_deref(),
            record.value.as_deref(),
            &record.replay_headers(),
        )
        .await
        .map_err(DltError::NotReplayed)?;
    mark(mailbox, letter, replayed_to.clone()).await?;
    Ok(replayed_to)
}

/// An earlier replay died between its acknowledgement and its marker.
async fn mark_late(
    mailbox: &Mailbox,
    letter: &Letter,
    replayed_to: Place,
    out: &mut impl Write,
) -> Result<(), DltError> {
    mark(mailbox, letter, replayed_to.clone()).await?;
    let _ = writeln!(
        out,
        "{} had been replayed to {replayed_to}; its missing marker is written",
        letter.place
    );
    Ok(())
}

/// The marker lies in the letter's partition, behind it.
async fn mark(mailbox: &Mailbox, letter: &Letter, replayed_to: Place) -> Result<(), DltError> {
    let marker = Marker {
        replay_of: letter.place.clone(),
        replayed_to,
    };
    let written = mailbox
        .send(
            &letter.place.topic,
            Some(letter.place.partition),
            letter.key.as_deref(),
            None,
            &marker.headers(),
        )
        .await;
    match written {
        Ok(_) => Ok(()),
        Err(source) => Err(DltError::NotMarked {
            letter: letter.place.clone(),
            replayed_to: marker.replayed_to,
            source: Box::new(source),
        }),
    }
}
