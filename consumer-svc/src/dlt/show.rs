use std::io::Write;

use dead_letters::{DeadLetterError, Mailbox};
use proto::dead_letter::Place;

use super::text;

/// Prints one dead letter in full.
pub async fn show(
    mailbox: &Mailbox,
    place: &Place,
    out: &mut impl Write,
) -> Result<(), DeadLetterError> {
    let letter = mailbox.letter(place).await?;
    let replayed = mailbox.survey_one(place).await?.replayed;
    // A closed pipe is no failure.
    let _ = out.write_all(text::in_full(&letter, replayed.get(place)).as_bytes());
    Ok(())
}
