use std::io::Write;

use dead_letters::{DeadLetterError, Mailbox, Skip};
use service::config::Values;

/// What the command's arguments and flags ask for; mistakes are noted in `values`.
pub fn read(arguments: &[String], values: &mut Values) -> Skip {
    let range = range(arguments).unwrap_or_else(|problem| {
        values.mistake("dlt skip", problem);
        (String::new(), 0, 0, 0)
    });
    let (topic, partition, first, last) = range;
    Skip {
        topic,
        partition,
        first,
        last,
        group: values.find("GROUP"),
        reason: values.find::<String>("REASON").unwrap_or_default(),
        beyond: values.get("BEYOND"),
    }
}

fn range(arguments: &[String]) -> Result<(String, i32, i64, i64), String> {
    let problem = || {
        "needs TOPIC PARTITION FROM TO, such as orders 0 17 19: the first and the last offset that nobody can read"
            .to_owned()
    };
    let [topic, partition, first, last] = arguments else {
        return Err(problem());
    };
    let numbers = || {
        let partition = partition.parse().ok().filter(|number: &i32| *number >= 0)?;
        let first = first.parse().ok().filter(|offset: &i64| *offset >= 0)?;
        let last = last.parse().ok().filter(|offset: &i64| *offset >= first)?;
        Some((topic.clone(), partition, first, last))
    };
    numbers().filter(|_| !topic.is_empty()).ok_or_else(problem)
}

/// Tells the groups that are held, a line for each.
pub async fn skip(
    mailbox: &Mailbox,
    wanted: &Skip,
    out: &mut impl Write,
) -> Result<(), DeadLetterError> {
    let Skip {
        topic,
        partition,
        first,
        last,
        ..
    } = wanted;
    for told in mailbox.skip(wanted).await? {
        // A closed pipe is no failure.
        let _ = writeln!(
            out,
            "group {} is told to pass over offsets {first} to {last} of {topic} partition {partition}, by the \
             dead letter {}; it goes on within seconds, or whenever it reads there",
            told.group, told.letter
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_four_words() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            range(&words)
        };
        let orders = ("orders".to_owned(), 0, 17, 19);
        assert_eq!(read(&["orders", "0", "17", "19"]).unwrap(), orders);
        for wrong in [
            &[][..],
            &["orders", "0", "17"],
            &["orders", "0", "19", "17"],
            &["orders", "-1", "17", "19"],
            &["orders", "0", "-1", "19"],
            &["", "0", "17", "19"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
