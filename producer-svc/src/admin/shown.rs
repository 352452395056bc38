use kafka::Headers;
use serde::Serialize;

/// Bytes of a record for a person: text as it is, everything else escaped, long ones cut.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    text: String,
    /// Of the whole.
    bytes: usize,
    /// Whether `text` is the beginning alone.
    cut: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct ShownHeader {
    name: String,
    value: Option<Shown>,
}

/// Headers that are shown of a record.
const HEADERS: usize = 64;
/// Bytes that are shown of a header's value.
const HEADER_BYTES: usize = 512;

impl Shown {
    pub(super) fn text(self) -> String {
        self.text
    }

    /// `most` bytes of it.
    pub(super) fn new(bytes: &[u8], most: usize) -> Self {
        let cut = bytes.len() > most;
        let mut begin = &bytes[..bytes.len().min(most)];
        // Not in the middle of a character.
        if let Err(error) = std::str::from_utf8(begin)
            && cut
            && error.error_len().is_none()
        {
            begin = &begin[..error.valid_up_to()];
        }
        Self {
            text: match std::str::from_utf8(begin) {
                Ok(text) => text.to_owned(),
                Err(_) => dead_letters::shown(begin, None),
            },
            bytes: bytes.len(),
            cut,
        }
    }
}

/// The first headers, in their order.
pub(super) fn headers(headers: &Headers) -> Vec<ShownHeader> {
    let shown = |(name, value): (&[u8], Option<&[u8]>)| ShownHeader {
        name: Shown::new(name, HEADER_BYTES).text,
        value: value.map(|value| Shown::new(value, HEADER_BYTES)),
    };
    headers.iter().take(HEADERS).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_shown_as_it_is_and_bytes_escaped() {
        let shown = |bytes: &[u8]| Shown::new(bytes, 6);
        assert_eq!(
            shown("{\n\t}".as_bytes()),
            Shown {
                text: "{\n\t}".into(),
                bytes: 4,
                cut: false
            }
        );
        assert_eq!(shown(b"a\xff\x00").text, "a\\xff\\u{0}");
        let long = shown("абвг".as_bytes());
        assert_eq!((long.text.as_str(), long.bytes, long.cut), ("абв", 8, true));
        // Cut in the middle of a character.
        let long = shown("xабв".as_bytes());
        assert_eq!((long.text.as_str(), long.bytes, long.cut), ("xаб", 7, true));
    }
}
