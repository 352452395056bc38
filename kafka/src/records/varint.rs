//! Variable-length integers with zigzag coding, as in Protocol Buffers (`ByteUtils.java`).

use bytes::{BufMut as _, BytesMut};

/// A varint of a 32-bit value has at most this many bytes.
pub(super) const MAX_INT: usize = 5;
/// A varint of a 64-bit value has at most this many bytes.
pub(super) const MAX_LONG: usize = 10;

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Encoded size in bytes.
pub(super) const fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[inline]
pub(super) fn put(buf: &mut BytesMut, value: i64) {
    let mut rest = zigzag(value);
    // Lengths and deltas of small records: one byte.
    if rest < 0x80 {
        buf.put_u8(rest as u8);
        return;
    }
    let mut bytes = [0; MAX_LONG];
    let mut len = 0;
    while rest >= 0x80 {
        bytes[len] = rest as u8 | 0x80;
        rest >>= 7;
        len += 1;
    }
    bytes[len] = rest as u8;
    buf.put_slice(&bytes[..=len]);
}

/// The value at `at` and the position behind it; `None` if it is cut off or too long.
#[inline]
pub(super) fn get_long(data: &[u8], at: usize) -> Option<(i64, usize)> {
    let mut value: u64 = 0;
    for index in 0..MAX_LONG {
        let byte = *data.get(at + index)?;
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            if index == MAX_LONG - 1 && byte > 1 {
                return None;
            }
            return Some(((value >> 1) as i64 ^ -((value & 1) as i64), at + index + 1));
        }
    }
    None
}

/// Like [`get_long`], for a value that must fit in 32 bits.
#[inline]
pub(super) fn get_int(data: &[u8], at: usize) -> Option<(i32, usize)> {
    let (value, next) = get_long(data, at)?;
    if next - at > MAX_INT {
        return None;
    }
    Some((i32::try_from(value).ok()?, next))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_encodings() {
        // From Java's ByteUtilsTest.
        for (value, expected) in [
            (0_i64, &[0x00_u8][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (8191, &[0xfe, 0x7f]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (
                i64::MIN,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
        ] {
            let mut buf = BytesMut::new();
            put(&mut buf, value);
            assert_eq!(&buf[..], expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(value: i64) {
            let mut buf = BytesMut::new();
            put(&mut buf, value);
            prop_assert_eq!(buf.len(), size(value));
            prop_assert_eq!(get_long(&buf, 0), Some((value, buf.len())));
            let int = i32::try_from(value).ok();
            prop_assert_eq!(get_int(&buf, 0).map(|(value, _)| value), int);
            prop_assert_eq!(get_long(&buf[..buf.len() - 1], 0), None);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, at in 0_usize..20) {
            let _ = get_long(&bytes, at);
            let _ = get_int(&bytes, at);
        }
    }
}
