//! A record's headers as they lie in the batch: repeated names, null values and names that are not
//! UTF-8 are kept, and nothing is copied.

use std::{fmt, ops::Range};

use bytes::{Bytes, BytesMut};

use super::varint;

/// A header to send: a name, and a value that may be null.
pub(crate) type Pair<'a> = (&'a [u8], Option<&'a [u8]>);

/// The headers of a record, in their order. Clones share the batch's memory.
#[derive(Clone, Default)]
pub struct Headers {
    /// The encoded headers without their count; checked when it was made.
    raw: Bytes,
    count: u32,
}

impl Headers {
    /// `raw` must hold exactly `count` headers; `None` otherwise.
    pub(super) fn parse(raw: Bytes, count: i32) -> Option<Self> {
        let count = u32::try_from(count).ok()?;
        let mut at = 0;
        for _ in 0..count {
            let (_, _, next) = header(&raw, at)?;
            at = next;
        }
        (at == raw.len()).then_some(Self { raw, count })
    }

    /// Headers from names and values, in this order.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Self {
        let mut raw = BytesMut::new();
        let mut count = 0;
        for (name, value) in pairs {
            put(&mut raw, name, value);
            count += 1;
        }
        Self {
            raw: raw.freeze(),
            count,
        }
    }

    /// As they are, to be sent again.
    pub(crate) fn encoded(&self) -> EncodedHeaders<'_> {
        EncodedHeaders {
            raw: &self.raw,
            count: self.count,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Names and values in their order. A null value is `None`.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + Clone {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (name, value, next) = header(&self.raw, at)?;
            at = next;
            Some((name, value))
        })
    }

    /// The value of the last header of this name, as Java's `lastHeader`. `None` if there is no such
    /// header or its value is null.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self
            .iter()
            .filter(|(of, _)| *of == name.as_bytes())
            .last()?;
        value
    }

    /// Like [`Headers::get`], if the value is text.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)?).ok()
    }
}

/// Headers as they lie in a batch, to be copied there. Made by [`HeaderTemplate::fill`].
#[derive(Debug, Clone, Copy, Default)]
pub struct EncodedHeaders<'a> {
    raw: &'a [u8],
    count: u32,
}

/// Headers of which a few values differ from record to record, each always of one length, such as ids
/// and times. The rest is encoded once; for each record it is copied whole and the values are put in
/// their places, which costs a fraction of encoding name by name.
#[derive(Debug, Clone)]
pub struct HeaderTemplate<const N: usize> {
    raw: Vec<u8>,
    count: u32,
    /// Where the values lie that differ.
    slots: [Range<usize>; N],
}

impl<const N: usize> HeaderTemplate<N> {
    /// From the headers of any one record. `None` unless each of the names in `differing` is that of
    /// just one header, with a value.
    pub fn new<'a>(
        pairs: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
        differing: [&str; N],
    ) -> Option<Self> {
        let Headers { raw, count } = Headers::from_pairs(pairs);
        let mut slots = [const { None }; N];
        let mut at = 0;
        for _ in 0..count {
            let (name, value, next) = header(&raw, at)?;
            at = next;
            if let Some(slot) = differing.iter().position(|of| of.as_bytes() == name) {
                let place = next - value?.len()..next;
                if slots[slot].replace(place).is_some() {
                    return None;
                }
            }
        }
        if slots.iter().any(Option::is_none) {
            return None;
        }
        Some(Self {
            raw: raw.into(),
            count,
            slots: slots.map(Option::unwrap_or_default),
        })
    }

    /// The headers with these values in the order of `differing`, written into `scratch`, whose content
    /// is discarded.
    ///
    /// # Panics
    /// If a value is not as long as the one in its place was.
    pub fn fill<'b>(&self, values: [&[u8]; N], scratch: &'b mut Vec<u8>) -> EncodedHeaders<'b> {
        scratch.clear();
        scratch.extend_from_slice(&self.raw);
        for (slot, value) in self.slots.iter().zip(values) {
            scratch[slot.clone()].copy_from_slice(value);
        }
        EncodedHeaders {
            raw: scratch,
            count: self.count,
        }
    }
}

/// The headers of a record to send, in either form.
#[derive(Debug, Clone, Copy)]
pub enum OutgoingHeaders<'a> {
    /// Name by name. Names need not be unique; values may be null.
    Pairs(&'a [(&'a [u8], Option<&'a [u8]>)]),
    /// Encoded already.
    Encoded(EncodedHeaders<'a>),
}

impl<'a> From<&'a [Pair<'a>]> for OutgoingHeaders<'a> {
    fn from(pairs: &'a [Pair<'a>]) -> Self {
        Self::Pairs(pairs)
    }
}

impl<'a> From<EncodedHeaders<'a>> for OutgoingHeaders<'a> {
    fn from(headers: EncodedHeaders<'a>) -> Self {
        Self::Encoded(headers)
    }
}

impl OutgoingHeaders<'_> {
    /// Encoded size, their number included.
    #[inline]
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Pairs(pairs) => {
                let each = pairs.iter().map(|(name, value)| size(name, *value));
                varint::size(pairs.len() as i64) + each.sum::<usize>()
            }
            Self::Encoded(headers) => varint::size(i64::from(headers.count)) + headers.raw.len(),
        }
    }

    #[inline]
    pub(super) fn put(&self, buf: &mut BytesMut) {
        match self {
            Self::Pairs(pairs) => {
                varint::put(buf, pairs.len() as i64);
                for (name, value) in *pairs {
                    put(buf, name, *value);
                }
            }
            Self::Encoded(headers) => {
                varint::put(buf, i64::from(headers.count));
                buf.extend_from_slice(headers.raw);
            }
        }
    }

    /// A copy of their own.
    pub(crate) fn to_owned(self) -> Headers {
        match self {
            Self::Pairs(pairs) => Headers::from_pairs(pairs.iter().copied()),
            Self::Encoded(EncodedHeaders { raw, count }) => Headers {
                raw: Bytes::copy_from_slice(raw),
                count,
            },
        }
    }
}

/// Encoded size of one header.
fn size(name: &[u8], value: Option<&[u8]>) -> usize {
    let value = match value {
        Some(value) => varint::size(value.len() as i64) + value.len(),
        None => varint::size(-1),
    };
    varint::size(name.len() as i64) + name.len() + value
}

#[inline]
fn put(buf: &mut BytesMut, name: &[u8], value: Option<&[u8]>) {
    varint::put(buf, name.len() as i64);
    buf.extend_from_slice(name);
    match value {
        Some(value) => {
            varint::put(buf, value.len() as i64);
            buf.extend_from_slice(value);
        }
        None => varint::put(buf, -1),
    }
}

type Header<'a> = (&'a [u8], Option<&'a [u8]>, usize);

fn header(raw: &[u8], at: usize) -> Option<Header<'_>> {
    let (length, at) = varint::get_int(raw, at)?;
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    let name = raw.get(at..end)?;
    let (length, at) = varint::get_int(raw, end)?;
    if length == -1 {
        return Some((name, None, at));
    }
    let end = at.checked_add(usize::try_from(length).ok()?)?;
    Some((name, Some(raw.get(at..end)?), end))
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl fmt::Debug for Headers {
    /// Names only: values may be personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(
                self.iter()
                    .map(|(name, _)| String::from_utf8_lossy(name).into_owned()),
            )
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_of_a_name_wins_and_null_is_kept() {
        let headers = Headers::from_pairs([
            (&b"a"[..], Some(&b"1"[..])),
            (b"b", None),
            (b"a", Some(b"2")),
            (b"\xff", Some(b"")),
        ]);
        assert_eq!(headers.len(), 4);
        assert_eq!(headers.get("a"), Some(&b"2"[..]));
        assert_eq!(headers.get_str("a"), Some("2"));
        assert_eq!(headers.get("b"), None);
        assert_eq!(headers.get("c"), None);
        let all: Vec<_> = headers.iter().collect();
        assert_eq!(all[1], (&b"b"[..], None));
        assert_eq!(all[3], (&b"\xff"[..], Some(&b""[..])));
        assert_eq!(format!("{headers:?}"), r#"["a", "b", "a", "�"]"#);
    }

    #[test]
    fn a_filled_template_is_what_its_headers_are_name_by_name() {
        let pairs = |id: &'static str, time: &'static str| {
            [
                (&b"version"[..], Some(&b"1"[..])),
                (b"id", Some(id.as_bytes())),
                (b"null", None),
                (b"time", Some(time.as_bytes())),
            ]
        };
        let template = HeaderTemplate::new(pairs("0000", "000"), ["time", "id"]).unwrap();
        let mut scratch = b"left over".to_vec();
        for (id, time) in [("abcd", "123"), ("efgh", "456")] {
            let filled = template.fill([time.as_bytes(), id.as_bytes()], &mut scratch);
            let expected = Headers::from_pairs(pairs(id, time));
            assert_eq!(OutgoingHeaders::from(filled).to_owned(), expected);
        }
    }

    #[test]
    fn a_template_needs_each_of_its_values_once() {
        let pairs = [
            (&b"a"[..], Some(&b"1"[..])),
            (b"b", None),
            (b"c", Some(b"")),
            (b"a", Some(b"2")),
        ];
        assert!(HeaderTemplate::new(pairs, ["c"]).is_some());
        assert!(HeaderTemplate::new(pairs, ["a"]).is_none(), "twice");
        assert!(HeaderTemplate::new(pairs, ["b"]).is_none(), "null");
        assert!(HeaderTemplate::new(pairs, ["c", "d"]).is_none(), "missing");
    }

    proptest! {
        #[test]
        fn round_trip(pairs: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
            let headers = Headers::from_pairs(pairs.iter().map(|(name, value)| (&name[..], value.as_deref())));
            let parsed = Headers::parse(headers.raw.clone(), pairs.len() as i32).unwrap();
            let back: Vec<_> = parsed.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
            prop_assert_eq!(&back, &pairs);
            let expected: usize = pairs.iter().map(|(name, value)| size(name, value.as_deref())).sum();
            prop_assert_eq!(expected, headers.raw.len());
            prop_assert!(Headers::parse(headers.raw.clone(), pairs.len() as i32 + 1).is_none());
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, count in -2_i32..20) {
            if let Some(headers) = Headers::parse(bytes.into(), count) {
                prop_assert_eq!(headers.iter().count(), headers.len());
            }
        }
    }
}
