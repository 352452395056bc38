use std::io::Write;

use proto::dead_letter::Place;

use super::DltError;
use super::mailbox::Mailbox;
use super::text;

/// Prints one dead letter in full.
pub async fn show(mailbox: &Mailbox, place: &Place, out: &mut impl Write) -> Result<(), DltError> {
    let letter = mailbox.letter(place).await?;
    let topic = std::slice::from_ref(&place.topic);
    let replayed = mailbox.survey(topic).await?.replayed;
    // A closed pipe is no failure.
    let _ = out.write_all(text::in_full(&letter, replayed.get(place)).as_bytes());
    Ok(())
}
