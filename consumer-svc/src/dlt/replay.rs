use std::io::Write;

use dead_letters::{DeadLetterError, Mailbox, replay};
use proto::dead_letter::Place;

/// Replays one letter and says where to.
pub async fn one(
    mailbox: &Mailbox,
    place: &Place,
    force: bool,
    out: &mut impl Write,
) -> Result<(), DeadLetterError> {
    let replayed = replay::one(mailbox, place, force).await?;
    // A closed pipe is no failure.
    let _ = writeln!(out, "{replayed}");
    Ok(())
}

/// Replays what has not been replayed, a line for each letter.
///
/// # Errors
/// [`DeadLetterError::NotAll`] after all have had their turn; at once what would keep the others too.
pub async fn all(
    mailbox: &Mailbox,
    topic: Option<&str>,
    out: &mut impl Write,
) -> Result<(), DeadLetterError> {
    let each = |replayed: Result<_, _>| {
        let _ = match replayed {
            Ok(replayed) => writeln!(out, "{replayed}"),
            Err(error) => writeln!(out, "{error}"),
        };
    };
    let tally = replay::all(mailbox, topic, each).await?;
    let _ = writeln!(out, "{} dead letters replayed", tally.replayed);
    match tally.failed {
        0 => Ok(()),
        failed => Err(DeadLetterError::NotAll(failed)),
    }
}
