//! Compressed records in the clear.

use std::borrow::Cow;
use std::io::{BufRead, BufReader, Cursor, Read};

/// Records larger than this in the clear are not looked into, in bytes.
const LIMIT: u64 = 64 * 1024 * 1024;

/// How snappy-java, and with it the Java client, starts what it frames.
const XERIAL_MAGIC: &[u8] = b"\x82SNAPPY\0";
/// Magic and two version numbers of four bytes.
const XERIAL_HEADER: usize = 16;

/// The records in the clear, or `None` if the codec is unknown or the bytes are damaged.
pub(super) fn decompress(bytes: &[u8], codec: i16) -> Option<Cow<'_, [u8]>> {
    match codec {
        0 => Some(Cow::Borrowed(bytes)),
        1 => read(flate2::read::GzDecoder::new(bytes)),
        2 => snappy(bytes).map(Cow::Owned),
        3 => read(lz4_flex::frame::FrameDecoder::new(bytes)),
        4 => read(ruzstd::decoding::StreamingDecoder::new(bytes).ok()?),
        _ => None,
    }
}

/// The records in the clear as they are read, without a limit, or `None` if the codec is unknown or
/// their beginning is damaged.
pub(super) fn stream(bytes: &[u8], codec: i16) -> Option<Box<dyn BufRead + '_>> {
    Some(match codec {
        0 => Box::new(bytes),
        1 => Box::new(BufReader::new(flate2::read::GzDecoder::new(bytes))),
        2 => Box::new(Cursor::new(snappy(bytes)?)),
        3 => Box::new(BufReader::new(lz4_flex::frame::FrameDecoder::new(bytes))),
        4 => Box::new(BufReader::new(
            ruzstd::decoding::StreamingDecoder::new(bytes).ok()?,
        )),
        _ => return None,
    })
}

fn read<'a>(reader: impl Read) -> Option<Cow<'a, [u8]>> {
    let mut clear = Vec::new();
    reader.take(LIMIT + 1).read_to_end(&mut clear).ok()?;
    (clear.len() as u64 <= LIMIT).then_some(Cow::Owned(clear))
}

fn snappy(bytes: &[u8]) -> Option<Vec<u8>> {
    let Some(mut blocks) = bytes
        .strip_prefix(XERIAL_MAGIC)
        .and_then(|_| bytes.get(XERIAL_HEADER..))
    else {
        return block(bytes);
    };
    let mut clear = Vec::new();
    while !blocks.is_empty() {
        let (length, rest) = blocks.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (coded, rest) = rest.split_at_checked(length)?;
        clear.extend(block(coded)?);
        if clear.len() as u64 > LIMIT {
            return None;
        }
        blocks = rest;
    }
    Some(clear)
}

fn block(bytes: &[u8]) -> Option<Vec<u8>> {
    // The length in the clear stands in front; it is believed only up to the limit.
    let length = snap::raw::decompress_len(bytes).ok()?;
    (length as u64 <= LIMIT).then_some(())?;
    snap::raw::Decoder::new().decompress_vec(bytes).ok()
}
