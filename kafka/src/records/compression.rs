//! The four codecs of Kafka, in pure Rust, in the framings of the Java client.

use std::{
    io::{self, Read, Write as _},
    str::FromStr,
};

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{BatchProblem, layout};

/// How a producer compresses its batches. Consumers read all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// As is: least CPU, and the default, as in Java (`compression.type`).
    #[default]
    None,
    /// gzip, at flate2's default level 6.
    Gzip,
    /// snappy, in the framing of snappy-java (`SnappyOutputStream`).
    Snappy,
    /// lz4 frames with independent 64 KiB blocks, as `Lz4BlockOutputStream`.
    Lz4,
    /// zstd, about its level 1.
    Zstd,
}

/// A name that is none of Kafka's codecs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no codec; there are none, gzip, snappy, lz4, zstd")]
pub struct UnknownCompression(pub String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    /// As Kafka's configuration spells it (`compression.type`).
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let name = name.trim();
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|codec| codec.name() == name)
            .ok_or_else(|| UnknownCompression(name.to_owned()))
    }
}

impl Compression {
    pub(super) fn attributes(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    pub(crate) fn from_attributes(attributes: i16) -> Result<Self, BatchProblem> {
        match attributes & layout::COMPRESSION_MASK {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            unknown => Err(BatchProblem::UnknownCompression(unknown)),
        }
    }

    /// As Kafka's configuration spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// The header of snappy-java's stream: magic, version 1, compatible with version 1.
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// The part of it that never changes.
const XERIAL_MAGIC: &[u8] = XERIAL_HEADER.split_at(8).0;
/// snappy-java's block size.
const XERIAL_BLOCK: usize = 32 * 1024;

/// What a byte of snappy can stand for at most: three bytes copy up to 64.
const SNAPPY_RATIO: usize = 22;

/// The header of an LZ4 frame: magic, version 1 with independent blocks, which are all that Java reads,
/// of at most 64 KiB, and the header's checksum.
const LZ4_HEADER: &[u8; 7] = b"\x04\x22\x4d\x18\x60\x40\x82";
const LZ4_BLOCK: usize = 64 * 1024;
/// In a block's size: the block is not compressed.
const LZ4_STORED: u32 = 1 << 31;
const LZ4_END: [u8; 4] = [0; 4];

/// Appends what `records` are compressed to.
pub(super) fn compress(codec: Compression, records: &[u8], target: &mut BytesMut) {
    // Writing to memory cannot fail; the codecs' encoders fail for no other reason.
    const IN_MEMORY: &str = "compressing into memory cannot fail";
    match codec {
        Compression::None => target.extend_from_slice(records),
        Compression::Gzip => {
            let level = flate2::Compression::default();
            let mut encoder = flate2::write::GzEncoder::new(target.writer(), level);
            encoder.write_all(records).expect(IN_MEMORY);
            encoder.finish().expect(IN_MEMORY);
        }
        Compression::Snappy => {
            let mut encoder = snap::raw::Encoder::new();
            let largest = XERIAL_BLOCK.min(records.len());
            let mut scratch = vec![0; snap::raw::max_compress_len(largest)];
            target.extend_from_slice(XERIAL_HEADER);
            for block in records.chunks(XERIAL_BLOCK) {
                let size = encoder.compress(block, &mut scratch).expect(IN_MEMORY);
                target.put_u32(size as u32);
                target.extend_from_slice(&scratch[..size]);
            }
        }
        Compression::Lz4 => {
            // Its own frame encoder takes twice as long: it copies each block, and keeps a window.
            use lz4_flex::block::{
                CompressTable, compress_into_with_table, get_maximum_output_size,
            };
            let mut table = CompressTable::large();
            let largest = LZ4_BLOCK.min(records.len());
            let mut scratch = vec![0; get_maximum_output_size(largest)];
            target.extend_from_slice(LZ4_HEADER);
            for block in records.chunks(LZ4_BLOCK) {
                let size = compress_into_with_table(block, &mut scratch, &mut table);
                let size = size.expect(IN_MEMORY);
                if size < block.len() {
                    target.put_u32_le(size as u32);
                    target.extend_from_slice(&scratch[..size]);
                } else {
                    target.put_u32_le(block.len() as u32 | LZ4_STORED);
                    target.extend_from_slice(block);
                }
            }
            target.extend_from_slice(&LZ4_END);
        }
        Compression::Zstd => {
            use ruzstd::encoding::{CompressionLevel, compress_to_vec};
            target.extend_from_slice(&compress_to_vec(records, CompressionLevel::Fastest));
        }
    }
}

/// At most `limit` bytes come out; more is an error.
pub(crate) fn decompress(
    codec: Compression,
    data: Bytes,
    limit: usize,
) -> Result<Bytes, BatchProblem> {
    let failed = |reason: String| BatchProblem::Decompression {
        codec: codec.name(),
        reason,
    };
    match codec {
        Compression::None => Ok(data),
        Compression::Gzip => {
            read_all(flate2::read::MultiGzDecoder::new(&data[..]), limit).map_err(failed)
        }
        Compression::Snappy => snappy(&data, limit).map_err(failed),
        Compression::Lz4 => {
            read_all(lz4_flex::frame::FrameDecoder::new(&data[..]), limit).map_err(failed)
        }
        Compression::Zstd => zstd(&data, limit).map_err(failed),
    }
}

fn too_large(limit: usize) -> String {
    format!("it is larger than {limit} bytes when decompressed")
}

fn read_all(source: impl Read, limit: usize) -> Result<Bytes, String> {
    let mut target = Vec::new();
    append_all(source, &mut target, limit)?;
    Ok(target.into())
}

fn append_all(source: impl Read, target: &mut Vec<u8>, limit: usize) -> Result<(), String> {
    let left = limit.saturating_sub(target.len()) as u64;
    let read = source
        .take(left + 1)
        .read_to_end(target)
        .map_err(|error: io::Error| error.to_string())?;
    if read as u64 > left {
        return Err(too_large(limit));
    }
    Ok(())
}

fn zstd(mut data: &[u8], limit: usize) -> Result<Bytes, String> {
    let mut target = Vec::new();
    // A stream may be several frames one after another.
    while !data.is_empty() {
        let mut decoder = ruzstd::decoding::StreamingDecoder::new(&mut data)
            .map_err(|error| error.to_string())?;
        append_all(&mut decoder, &mut target, limit)?;
    }
    Ok(target.into())
}

/// snappy-java's stream of blocks, or one bare block as other clients write it.
fn snappy(data: &[u8], limit: usize) -> Result<Bytes, String> {
    let mut decoder = snap::raw::Decoder::new();
    let mut target = Vec::new();
    let mut block = |block: &[u8]| {
        let size = snap::raw::decompress_len(block).map_err(|error| error.to_string())?;
        if size / SNAPPY_RATIO > block.len() {
            return Err(format!("a block of {} bytes claims {size}", block.len()));
        }
        if size > limit.saturating_sub(target.len()) {
            return Err(too_large(limit));
        }
        let start = target.len();
        target.resize(start + size, 0);
        decoder
            .decompress(block, &mut target[start..])
            .map_err(|error| error.to_string())?;
        Ok(())
    };
    if data.starts_with(XERIAL_MAGIC) {
        let mut rest = data
            .get(XERIAL_HEADER.len()..)
            .ok_or("its stream header is cut off")?;
        while !rest.is_empty() {
            let (size, behind) = rest
                .split_first_chunk()
                .ok_or("a block's size is cut off")?;
            let size = u32::from_be_bytes(*size) as usize;
            let part = behind.get(..size).ok_or("a block is cut off")?;
            block(part)?;
            rest = &behind[size..];
        }
    } else {
        block(data)?;
    }
    Ok(target.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODECS: [Compression; 4] = [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    fn packed(codec: Compression, data: &[u8]) -> Bytes {
        let mut target = BytesMut::new();
        compress(codec, data, &mut target);
        target.freeze()
    }

    #[test]
    fn round_trip_of_every_codec() {
        let text: Vec<u8> = (0..200_000_u32)
            .flat_map(|number| (number % 977).to_string().into_bytes())
            .collect();
        for codec in CODECS {
            for data in [&text[..], &text[..1], b""] {
                let packed = packed(codec, data);
                assert!(data.len() < 1000 || packed.len() < data.len(), "{codec:?}");
                let unpacked = decompress(codec, packed, data.len()).unwrap();
                assert!(unpacked == data, "{codec:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_compressed_grows_little() {
        let mut noise = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (noise >> 56) as u8
        })
        .take(200_000)
        .collect();
        for codec in CODECS {
            let packed = packed(codec, &noise);
            assert!(
                packed.len() < noise.len() + 1000,
                "{codec:?}: {}",
                packed.len()
            );
            let unpacked = decompress(codec, packed, noise.len()).unwrap();
            assert!(unpacked == noise, "{codec:?}");
        }
    }

    #[test]
    fn a_bomb_is_an_error() {
        let zeroes = vec![0; 10_000_000];
        for codec in CODECS {
            let packed = packed(codec, &zeroes);
            assert!(packed.len() < 1_000_000, "{codec:?}: {}", packed.len());
            let error = decompress(codec, packed, 100_000).unwrap_err().to_string();
            assert!(error.contains("larger than 100000 bytes"), "{error}");
            assert!(error.contains(codec.name()), "{error}");
        }
    }

    #[test]
    fn a_snappy_block_cannot_claim_more_than_it_can_hold() {
        // 100 MiB, in four bytes of a length and one of data.
        let claims = Bytes::from_static(b"\x80\x80\x80\x32\0");
        let error = decompress(Compression::Snappy, claims, 1 << 30).unwrap_err();
        assert!(error.to_string().contains("claims 104857600"), "{error}");
        // What compresses best is still read.
        let zeroes = vec![0; 1 << 20];
        let packed = packed(Compression::Snappy, &zeroes);
        let unpacked = decompress(Compression::Snappy, packed, 1 << 20).unwrap();
        assert!(unpacked == zeroes);
    }

    #[test]
    fn a_bare_snappy_block_is_read() {
        let packed = snap::raw::Encoder::new()
            .compress_vec(b"from another client")
            .unwrap();
        let unpacked = decompress(Compression::Snappy, packed.into(), 100).unwrap();
        assert_eq!(unpacked, "from another client");
    }

    /// What the zstd and lz4 programs wrote: `printf 'kafka kafka kafka' | zstd -3`, the same twice
    /// over, and `lz4 -BD` with its dependent blocks.
    #[test]
    fn output_of_the_reference_programs_is_read() {
        const ZSTD: &[u8] = include_bytes!("testdata/kafka.zst");
        const LZ4: &[u8] = include_bytes!("testdata/kafka.lz4");
        let twice = [ZSTD, ZSTD].concat();
        let unpacked = decompress(Compression::Zstd, twice.into(), 1000).unwrap();
        assert_eq!(unpacked, "kafka kafka kafkakafka kafka kafka");
        let unpacked = decompress(Compression::Lz4, Bytes::from_static(LZ4), 1000).unwrap();
        assert_eq!(unpacked, "kafka kafka kafka");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            for codec in CODECS {
                let _ = decompress(codec, bytes.clone().into(), 100_000);
            }
        }

        #[test]
        fn damaged_data_does_not_panic(at: prop::sample::Index, byte: u8) {
            for codec in CODECS {
                let mut packed = packed(codec, &b"some records, some records ".repeat(50)).to_vec();
                let at = at.index(packed.len());
                packed[at] = byte;
                let _ = decompress(codec, packed.into(), 100_000);
            }
        }
    }
}
