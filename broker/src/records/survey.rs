//! What a producer says of its batch, compared with the records in it.
//!
//! The checks are those of Apache Kafka's `LogValidator` and `DefaultRecord.readFrom`: whoever reads
//! the log later must find as many records as the header counts, each of the length it states.

use std::io::{self, BufRead};

use super::codec;
use crate::log::batch::{BatchHeader, HEADER_LEN};

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the records cannot be decompressed")]
    Compression,
    #[error("record {index} of the batch: {problem}")]
    Record { index: i32, problem: &'static str },
    #[error("bytes follow the last of the {0} records that the batch counts")]
    Surplus(i32),
    #[error("the records take more than {0} bytes in the clear")]
    TooLarge(u64),
}

/// One record, as far as a topic's settings have a say in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    /// Milliseconds since the Unix epoch.
    pub(crate) time: i64,
    pub(crate) has_key: bool,
}

/// Goes through the records of a batch with a valid checksum and hands `each` the number of every
/// one and what there is to see of it. Reads at most `most` bytes in the clear.
pub(crate) fn survey(
    batch: &[u8],
    header: &BatchHeader,
    most: u64,
    each: impl FnMut(i32, Seen),
) -> Result<(), Fault> {
    let records = &batch[HEADER_LEN..];
    if header.compression() == 0 {
        return walk(records, header, most, each);
    }
    let clear = codec::stream(records, header.compression()).ok_or(Fault::Compression)?;
    walk(clear, header, most, each)
}

fn walk(
    source: impl BufRead,
    header: &BatchHeader,
    most: u64,
    mut each: impl FnMut(i32, Seen),
) -> Result<(), Fault> {
    let mut reader = Reader {
        source,
        taken: 0,
        most,
    };
    for index in 0..header.count {
        let (time_delta, has_key) =
            record(&mut reader, index).map_err(|stop| stop.at(index, most))?;
        let time = if header.has_append_time() {
            header.max_timestamp
        } else {
            header.base_timestamp.wrapping_add(time_delta)
        };
        each(index, Seen { time, has_key });
    }
    match reader.byte() {
        Err(Stop::Problem(END)) => Ok(()),
        Ok(_) => Err(Fault::Surplus(header.count)),
        Err(stop) => Err(stop.at(header.count, most)),
    }
}

const END: &str = "the batch ends before it";

/// One record; its timestamp's distance from the batch's first, and whether it has a key.
fn record(reader: &mut Reader<impl BufRead>, index: i32) -> Result<(i64, bool), Stop> {
    let length = reader.varint()?;
    if length < 0 {
        return Err(Stop::Problem("its length is negative"));
    }
    let end = reader.taken.saturating_add(length as u64);
    let within = |reader: &Reader<_>, wanted: i64| {
        if reader.taken.saturating_add(wanted as u64) > end {
            return Err(Stop::Problem("its parts are longer than it is"));
        }
        Ok(wanted as u64)
    };
    // The attributes, unused.
    reader.byte()?;
    let time_delta = reader.varint()?;
    if reader.varint()? != i64::from(index) {
        return Err(Stop::Problem("its offset is not the next one"));
    }
    let key = reader.varint()?;
    for length in [Some(key), None] {
        let length = match length {
            Some(key) => key.max(0),
            None => reader.varint()?.max(0),
        };
        let length = within(reader, length)?;
        reader.skip(length)?;
    }
    let headers = reader.varint()?;
    if headers < 0 {
        return Err(Stop::Problem("its number of headers is negative"));
    }
    // Each of them takes a byte for each of its two lengths.
    within(reader, headers.saturating_mul(2))?;
    for _header in 0..headers {
        let key = reader.varint()?;
        if key < 0 {
            return Err(Stop::Problem("a header has no key"));
        }
        let key = within(reader, key)?;
        reader.skip(key)?;
        let value = reader.varint()?.max(0);
        let value = within(reader, value)?;
        reader.skip(value)?;
    }
    if reader.taken != end {
        return Err(Stop::Problem("its parts do not add up to its length"));
    }
    Ok((time_delta, key >= 0))
}

/// Why a record could not be read.
enum Stop {
    Problem(&'static str),
    Undecodable,
    TooLarge,
}

impl Stop {
    fn at(self, index: i32, most: u64) -> Fault {
        match self {
            Self::Problem(problem) => Fault::Record { index, problem },
            Self::Undecodable => Fault::Compression,
            Self::TooLarge => Fault::TooLarge(most),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Undecodable
    }
}

struct Reader<R> {
    source: R,
    taken: u64,
    most: u64,
}

impl<R: BufRead> Reader<R> {
    #[inline]
    fn byte(&mut self) -> Result<u8, Stop> {
        let Some(byte) = self.source.fill_buf()?.first().copied() else {
            return Err(Stop::Problem(END));
        };
        self.advance(1)?;
        Ok(byte)
    }

    /// Zigzag-coded integer of at most ten bytes.
    #[inline]
    fn varint(&mut self) -> Result<i64, Stop> {
        let mut value = 0u64;
        for at in 0..10 {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(((value >> 1) as i64) ^ -((value & 1) as i64));
            }
        }
        Err(Stop::Problem("a number in it does not end"))
    }

    fn skip(&mut self, mut length: u64) -> Result<(), Stop> {
        while length > 0 {
            let there = self.source.fill_buf()?.len() as u64;
            if there == 0 {
                return Err(Stop::Problem(END));
            }
            let step = there.min(length);
            self.advance(step)?;
            length -= step;
        }
        Ok(())
    }

    #[inline]
    fn advance(&mut self, bytes: u64) -> Result<(), Stop> {
        self.source.consume(bytes as usize);
        self.taken += bytes;
        if self.taken > self.most {
            return Err(Stop::TooLarge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::log::batch::testing::Build;

    const MOST: u64 = 1 << 20;

    fn look(batch: &[u8], count: i32) -> Result<Vec<i64>, Fault> {
        let mut header = BatchHeader::parse(batch).unwrap();
        header.count = count;
        let mut times = Vec::new();
        survey(batch, &header, MOST, |_, seen| times.push(seen.time)).map(|()| times)
    }

    fn build(attributes: i16) -> Build {
        Build {
            count: 3,
            attributes,
            ..Default::default()
        }
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain[HEADER_LEN..]).unwrap();
        [&plain[..HEADER_LEN], &gzip.finish().unwrap()].concat()
    }

    #[test]
    fn every_record_is_seen_with_its_time() {
        let plain = build(0).bytes();
        assert_eq!(look(&plain, 3).unwrap(), [1000, 1001, 1002]);
        assert_eq!(
            look(&gzip(&build(1).bytes()), 3).unwrap(),
            [1000, 1001, 1002]
        );
    }

    #[test]
    fn a_count_that_the_records_deny_is_found() {
        for batch in [build(0).bytes().to_vec(), gzip(&build(1).bytes())] {
            assert_eq!(look(&batch, 2), Err(Fault::Surplus(2)));
            for count in [4, i32::MAX] {
                let missing = Fault::Record {
                    index: 3,
                    problem: END,
                };
                assert_eq!(look(&batch, count), Err(missing));
            }
        }
    }

    #[test]
    fn what_does_not_decompress_is_found() {
        let mut cut = gzip(&build(1).bytes());
        cut.truncate(cut.len() - 12);
        assert_eq!(look(&cut, 3), Err(Fault::Compression));
        for codec in 1..=7 {
            let garbage = build(codec).bytes();
            assert_eq!(look(&garbage, 3), Err(Fault::Compression), "codec {codec}");
        }
    }

    #[test]
    fn records_that_grow_without_end_are_read_to_the_limit_only() {
        let large = Build {
            value_len: 3 << 20,
            ..build(1)
        };
        assert_eq!(look(&gzip(&large.bytes()), 3), Err(Fault::TooLarge(MOST)));
    }

    #[test]
    fn no_bytes_make_it_fail() {
        let plain = build(0).bytes();
        for at in HEADER_LEN..plain.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = plain.to_vec();
                changed[at] = value;
                // Any answer will do, but a panic.
                let _ = look(&changed, 3);
            }
        }
    }
}
