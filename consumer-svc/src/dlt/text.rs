//! Dead letters as an operator reads them.

use std::fmt::Write;

use dead_letters::{Letter, shown};
use proto::dead_letter::Place;

/// Characters of a body in a list; `dlt show` has all of it.
const BODY_IN_LIST: usize = 120;

/// Three lines for a list.
pub fn in_list(letter: &Letter, replayed_to: Option<&Place>) -> String {
    let source = match letter.passed_over() {
        Some(last) => format!("{} to {last}, passed over", letter.source),
        None => format!("{} of {}", letter.source, written(letter)),
    };
    let mut text = format!(
        "{}  from {source}  group {}  attempts {}  {}",
        letter.place,
        escaped(&letter.group),
        escaped(&letter.attempts),
        escaped(&letter.time),
    );
    if let Some(place) = replayed_to {
        let _ = write!(text, "  replayed to {place}");
    }
    let _ = write!(
        text,
        "\n    reason: {}\n    body:   {}\n",
        escaped(&letter.reason),
        letter.body(Some(BODY_IN_LIST))
    );
    text
}

/// All of it.
pub fn in_full(letter: &Letter, replayed_to: Option<&Place>) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{:<12}{value}", format!("{name}:"));
    };
    line("topic", &letter.place.topic);
    line("partition", &letter.place.partition.to_string());
    line("offset", &letter.place.offset.to_string());
    line("source", &letter.source.to_string());
    line("written", &written(letter));
    line("group", &escaped(&letter.group));
    line("attempts", &escaped(&letter.attempts));
    line("time", &escaped(&letter.time));
    line("reason", &escaped(&letter.reason));
    let replayed = replayed_to.map_or("no".to_owned(), |place| format!("yes, to {place}"));
    line("replayed", &replayed);
    if let Some(last) = letter.passed_over() {
        let range = format!(
            "{} to {last}, passed over since nobody could read them: there is no record to replay",
            letter.source.offset
        );
        line("offsets", &range);
    }
    if let Some(omitted) = letter.omitted() {
        line(
            "not here",
            &format!("{}: too large for a letter", escaped(omitted)),
        );
    }
    let or_null = |bytes: Option<&[u8]>| bytes.map_or("(null)".to_owned(), |b| shown(b, None));
    line("key", &or_null(letter.key.as_deref()));
    line("headers", "");
    for (name, value) in letter.headers.iter() {
        let _ = writeln!(text, "    {} = {}", shown(name, None), or_null(value));
    }
    let _ = writeln!(text, "body:\n{}", letter.body(None));
    text
}

/// When the record was written first.
fn written(letter: &Letter) -> String {
    escaped(&letter.original_time().unwrap_or_default())
}

fn escaped(text: &str) -> String {
    if text.is_empty() {
        return "(unknown)".to_owned();
    }
    shown(text.as_bytes(), None)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kafka::Headers;

    use super::*;

    fn letter() -> Letter {
        let place = |topic: &str, offset| Place {
            topic: topic.into(),
            partition: 2,
            offset,
        };
        Letter {
            place: place("orders-dlt", 5),
            source: place("orders", 17),
            group: "order-processing".into(),
            reason: "quantity is\nmissing".into(),
            attempts: "1".into(),
            time: String::new(),
            original_timestamp: 1_767_323_045_678,
            key: Some(Bytes::from_static(b"7")),
            value: Some(Bytes::from(vec![b'x'; 130])),
            headers: Headers::from_pairs([(&b"a"[..], None), (b"b", Some(&b"\xff"[..]))]),
        }
    }

    #[test]
    fn a_list_has_place_reason_and_the_beginning_of_the_body() {
        assert_eq!(
            in_list(&letter(), None),
            format!(
                "orders-dlt/2/5  from orders/2/17 of 2026-01-02T03:04:05.678Z  group \
                 order-processing  attempts 1  (unknown)\n    reason: quantity is\\nmissing\n    body:   {}…\n",
                "x".repeat(120)
            )
        );
        let replayed = Place::parse("orders/2/99");
        let text = in_list(&letter(), replayed.as_ref());
        assert!(
            text.lines()
                .next()
                .unwrap()
                .ends_with("  replayed to orders/2/99")
        );
    }

    #[test]
    fn what_was_passed_over_is_called_that() {
        let skip = Letter {
            value: None,
            headers: Headers::from_pairs([(&b"dlt-last-offset"[..], Some(&b"19"[..]))]),
            ..letter()
        };
        let text = in_list(&skip, None);
        let line = "orders-dlt/2/5  from orders/2/17 to 19, passed over  group order-processing";
        assert!(text.starts_with(line), "{text}");
        assert!(text.contains("body:   (passed over"), "{text}");
        let text = in_full(&skip, None);
        assert!(text.contains("offsets:    17 to 19, passed over"), "{text}");
    }

    #[test]
    fn in_full_everything_is_there() {
        let text = in_full(&letter(), None);
        for line in [
            "topic:      orders-dlt",
            "partition:  2",
            "offset:     5",
            "source:     orders/2/17",
            "written:    2026-01-02T03:04:05.678Z",
            "reason:     quantity is\\nmissing",
            "replayed:   no",
            "key:        7",
            "    a = (null)",
            "    b = \\xff",
            &"x".repeat(130),
        ] {
            assert!(
                text.lines().any(|l| l == line),
                "{line:?} missing in\n{text}"
            );
        }
    }
}
