//! Reading batches out of a segment file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::batch::{BatchHeader, HEADER_LEN};

/// A place to read from; stays valid while the segment is deleted, because the file is open.
pub(crate) struct ReadPlan {
    pub(super) file: Arc<File>,
    /// Start of a batch at or before the wanted one.
    pub(super) position: u64,
    /// `position` is the wanted batch itself.
    pub(super) exact: bool,
    pub(super) offset: i64,
    pub(super) segment: i64,
    pub(super) segment_size: u64,
}

/// Whole batches, and where the next ones start.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) bytes: Bytes,
    pub(crate) next_offset: i64,
    pub(crate) segment: i64,
    pub(crate) next_position: u64,
}

impl ReadPlan {
    /// Reads whole batches of at most `max_bytes` together, the first one whatever its size if
    /// `at_least_one`. `None` when nothing fits. `buffer` is scratch space, kept between calls.
    pub(crate) fn read(
        &self,
        max_bytes: usize,
        at_least_one: bool,
        buffer: &mut BytesMut,
    ) -> io::Result<Option<Chunk>> {
        let start = if self.exact {
            self.position
        } else {
            match self.seek()? {
                Some(start) => start,
                None => return Ok(None),
            }
        };
        let available = usize::try_from(self.segment_size - start).unwrap_or(usize::MAX);
        let mut wanted = max_bytes.min(available);
        if wanted < HEADER_LEN {
            if !at_least_one {
                return Ok(None);
            }
            wanted = HEADER_LEN.min(available);
        }
        self.fill(buffer, start, wanted)?;
        let (mut whole, mut next_offset) = whole_batches(buffer);
        if whole == 0 {
            let Some(first) = BatchHeader::parse(buffer) else {
                return Err(damaged(start));
            };
            if !at_least_one {
                return Ok(None);
            }
            if first.size > available {
                return Err(damaged(start));
            }
            self.fill(buffer, start, first.size)?;
            (whole, next_offset) = whole_batches(buffer);
        }
        buffer.truncate(whole);
        Ok(Some(Chunk {
            bytes: buffer.split().freeze(),
            next_offset,
            segment: self.segment,
            next_position: start + whole as u64,
        }))
    }

    fn fill(&self, buffer: &mut BytesMut, position: u64, length: usize) -> io::Result<()> {
        buffer.clear();
        buffer.resize(length, 0);
        self.file.read_exact_at(buffer, position)
    }

    /// Walks headers from the nearest known batch to the one that holds the offset.
    fn seek(&self) -> io::Result<Option<u64>> {
        let mut walk = Walk::new(&self.file, self.position, self.segment_size);
        while let Some((position, header)) = walk.next()? {
            if header.last_offset() >= self.offset {
                return Ok(Some(position));
            }
        }
        Ok(None)
    }
}

/// Length of the whole batches at the start of `bytes` and the offset behind them.
fn whole_batches(bytes: &[u8]) -> (usize, i64) {
    let mut length = 0;
    let mut next_offset = 0;
    while let Some(header) = BatchHeader::parse(&bytes[length..]) {
        if length + header.size > bytes.len() {
            break;
        }
        length += header.size;
        next_offset = header.next_offset();
    }
    (length, next_offset)
}

fn damaged(position: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("no record batch at byte {position}"),
    )
}

/// Header after header through a file, reading ahead a little.
pub(super) struct Walk<'a> {
    file: &'a File,
    position: u64,
    end: u64,
    ahead: Vec<u8>,
    ahead_at: u64,
}

impl<'a> Walk<'a> {
    const AHEAD: u64 = 16 * 1024;

    pub(super) fn new(file: &'a File, position: u64, end: u64) -> Self {
        Self {
            file,
            position,
            end,
            ahead: Vec::new(),
            ahead_at: position,
        }
    }

    /// The next batch's position and header; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, BatchHeader)>> {
        if self.position + HEADER_LEN as u64 > self.end {
            return Ok(None);
        }
        let buffered = self.ahead_at + self.ahead.len() as u64;
        if self.position < self.ahead_at || self.position + HEADER_LEN as u64 > buffered {
            let length = Self::AHEAD.min(self.end - self.position);
            self.ahead.resize(length as usize, 0);
            self.file.read_exact_at(&mut self.ahead, self.position)?;
            self.ahead_at = self.position;
        }
        let from = (self.position - self.ahead_at) as usize;
        let header =
            BatchHeader::parse(&self.ahead[from..]).ok_or_else(|| damaged(self.position))?;
        let position = self.position;
        self.position += header.size as u64;
        Ok(Some((position, header)))
    }
}
