use proto::dead_letter::Place;

/// The dead letter that a command's arguments name: `TOPIC PARTITION OFFSET`, or all in one as
/// `dlt list` prints it, `TOPIC/PARTITION/OFFSET`.
///
/// # Errors
/// What is wrong, to be read after the command's name.
pub fn address(arguments: &[String]) -> Result<Place, String> {
    let text = match arguments {
        [place] => place.clone(),
        [topic, partition, offset] => format!("{topic}/{partition}/{offset}"),
        _ => return Err("needs TOPIC PARTITION OFFSET".to_owned()),
    };
    Place::parse(&text).ok_or_else(|| {
        "needs a topic, a partition and an offset, such as orders-dlt 0 17".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_three_words_or_one() {
        let read = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            address(&words).map(|place| place.to_string())
        };
        assert_eq!(read(&["orders-dlt", "0", "17"]).unwrap(), "orders-dlt/0/17");
        assert_eq!(read(&["orders-dlt/0/17"]).unwrap(), "orders-dlt/0/17");
        for wrong in [
            &[][..],
            &["orders-dlt"],
            &["a", "b", "c"],
            &["a", "0"],
            &["a", "0", "-1"],
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
