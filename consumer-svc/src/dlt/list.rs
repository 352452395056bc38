use std::io::Write;

use dead_letters::{DeadLetterError, Entry, Mailbox};

use super::text;

/// Prints the dead letters of one topic or of all, oldest first in each partition.
pub async fn list(
    mailbox: &Mailbox,
    topic: Option<&str>,
    out: &mut impl Write,
) -> Result<(), DeadLetterError> {
    let topics = mailbox.topics(topic).await?;
    let replayed = mailbox.survey(&topics).await?.replayed;
    let (mut letters, mut done) = (0_u64, 0_u64);
    let mut scan = mailbox.scan(&topics).await?;
    while let Some(records) = scan.next().await? {
        for record in records {
            match Entry::of(record) {
                Entry::Letter(letter) => {
                    let to = replayed.get(&letter.place);
                    letters += 1;
                    done += u64::from(to.is_some());
                    // A closed pipe (`dlt list | head`) is no failure.
                    let _ = out.write_all(text::in_list(&letter, to).as_bytes());
                }
                Entry::Claim(_) | Entry::Marker(_) => {}
                Entry::Unknown(place) => {
                    let _ = writeln!(out, "{place}  is no dead letter of ours");
                }
            }
        }
    }
    let _ = writeln!(
        out,
        "{letters} dead letters in {} topics, {done} of them replayed",
        topics.len()
    );
    Ok(())
}
