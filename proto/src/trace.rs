//! W3C Trace Context, level 1: `traceparent`.

use uuid::Uuid;

const LENGTH: usize = 55;
const TRACE: std::ops::Range<usize> = 3..35;
const SPAN: std::ops::Range<usize> = 36..52;
const HEX: &[u8; 16] = b"0123456789abcdef";

/// A valid `traceparent`, such as `00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Traceparent([u8; LENGTH]);

impl Traceparent {
    /// None if `text` is not valid: then a new trace is begun, as the recommendation asks for. A
    /// later version is read by the fields known here and passed on as version 00.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let known: &[u8; LENGTH] = text.first_chunk()?;
        let hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let zero = |part: &[u8]| part.iter().all(|&b| b == b'0');
        let (version, flags) = (&known[..2], &known[53..]);
        let shaped = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
        let whole = match text.get(LENGTH) {
            None => true,
            Some(&next) => version != b"00" && next == b'-',
        };
        let valid = shaped
            && whole
            && hex(version)
            && version != b"ff"
            && hex(&known[TRACE])
            && !zero(&known[TRACE])
            && hex(&known[SPAN])
            && !zero(&known[SPAN])
            && hex(flags);
        valid.then(|| {
            let mut own = *known;
            own[..2].copy_from_slice(b"00");
            Self(own)
        })
    }

    /// A new trace with its first span, marked as sampled.
    pub fn new() -> Self {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-01";
        // Never zero: a version 4 UUID has fixed bits that are set.
        write_hex(&mut text[TRACE], Uuid::new_v4().as_bytes());
        write_hex(&mut text[SPAN], &random_span());
        Self(text)
    }

    /// A new span of the same trace.
    pub fn child(&self) -> Self {
        let mut text = self.0;
        write_hex(&mut text[SPAN], &random_span());
        Self(text)
    }

    /// A child of what arrived, or a new trace if nothing valid did.
    pub fn continued(arrived: Option<&[u8]>) -> Self {
        match arrived.and_then(Self::parse) {
            Some(parent) => parent.child(),
            None => Self::new(),
        }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }

    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        ascii(&self.0[TRACE])
    }

    /// 16 hexadecimal digits.
    pub fn span_id(&self) -> &str {
        ascii(&self.0[SPAN])
    }
}

impl Default for Traceparent {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for Traceparent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Eight random bytes, not all zero.
fn random_span() -> [u8; 8] {
    // Bytes 9 to 15 of a version 4 UUID are random throughout; 8 carries the variant, which also
    // keeps the whole from being zero.
    let random = Uuid::new_v4().into_bytes();
    let mut span = [0; 8];
    span.copy_from_slice(&random[8..]);
    span
}

fn write_hex(out: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
}

/// Hexadecimal digits and hyphens are UTF-8.
fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_child_keeps_the_trace_and_its_flags() {
        let parent = Traceparent::parse(GIVEN.as_bytes()).unwrap();
        assert_eq!(parent.as_str(), GIVEN);
        assert_eq!(parent.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.span_id(), "b7ad6b7169203331");
        let child = parent.child();
        assert_eq!(child.trace_id(), parent.trace_id());
        assert_ne!(child.span_id(), parent.span_id());
        assert!(child.as_str().ends_with("-01"));
        assert_eq!(Traceparent::parse(child.as_str().as_bytes()), Some(child));
    }

    #[test]
    fn what_is_not_valid_begins_a_new_trace() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319cxb7ad6b7169203331-01",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
        ] {
            assert_eq!(Traceparent::parse(text.as_bytes()), None, "{text}");
            let fresh = Traceparent::continued(Some(text.as_bytes()));
            assert_ne!(fresh.trace_id(), "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(Traceparent::parse(fresh.as_str().as_bytes()), Some(fresh));
        }
    }

    #[test]
    fn a_later_version_is_read_by_what_is_known() {
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what";
        assert_eq!(
            Traceparent::parse(later.as_bytes()).unwrap().as_str(),
            GIVEN
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Traceparent::parse(&bytes);
        }

        #[test]
        fn one_changed_byte_is_valid_or_refused(at in 0..LENGTH, byte: u8) {
            let mut text = GIVEN.as_bytes().to_vec();
            text[at] = byte;
            if let Some(parsed) = Traceparent::parse(&text) {
                prop_assert_eq!(Traceparent::parse(parsed.as_str().as_bytes()), Some(parsed));
            }
        }
    }
}
