//! A record's headers as they lie in the batch: repeated names, null values and names that are not
//! UTF-8 are kept, and nothing is copied.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::varint;

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

/// Encoded size of one header.
pub(super) fn size(name: &[u8], value: Option<&[u8]>) -> usize {
    let value = match value {
        Some(value) => varint::size(value.len() as i64) + value.len(),
        None => varint::size(-1),
    };
    varint::size(name.len() as i64) + name.len() + value
}

#[inline]
pub(super) fn put(buf: &mut BytesMut, name: &[u8], value: Option<&[u8]>) {
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
