//! Reads the records of a fetched partition without copying them.
//!
//! The broker answers with whole batches: the first may begin before the offset asked for, the last may
//! be cut off. Batches can be empty (compaction), carry transaction markers, or belong to an aborted
//! transaction; the position moves past all of them to `base offset + last offset delta + 1`.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;

use super::{
    BatchError, BatchProblem, Compression, Headers, MAX_OFFSET, compression, layout, varint,
};

/// Whether records of transactions that are open or aborted are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IsolationLevel {
    /// Everything in the log (Java's default).
    ReadUncommitted,
    /// Only records of committed transactions and those outside any.
    #[default]
    ReadCommitted,
}

/// What a [`Walker`] needs to know of the fetch that it reads the answer of.
pub(crate) struct WalkOptions {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    /// Earlier records of the first batch are passed over.
    pub(crate) fetch_offset: i64,
    pub(crate) isolation: IsolationLevel,
    /// Producer id and first offset of each aborted transaction, as the fetch answer lists them.
    pub(crate) aborted: Vec<(i64, i64)>,
    /// Largest size of one batch after decompression, in bytes. A batch beyond it is an error: a few
    /// kilobytes can claim to be gigabytes.
    pub(crate) max_decompressed: usize,
}

/// Default of [`WalkOptions::max_decompressed`]: a hundred times the broker's default limit for one
/// batch (`message.max.bytes`, about 1 MB).
pub(crate) const MAX_DECOMPRESSED: usize = 100 * 1024 * 1024;

/// One record, as slices of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WalkedRecord {
    pub(crate) offset: i64,
    /// Milliseconds since 1970: the producer's, or the broker's where the topic has `LogAppendTime`.
    pub(crate) timestamp: i64,
    /// The leader epoch in which the batch was appended.
    pub(crate) leader_epoch: i32,
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Option<Bytes>,
    pub(crate) headers: Headers,
}

/// What the walk comes across.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Walked {
    Record(WalkedRecord),
    /// A record whose bounds are known but whose inside contradicts itself.
    Unreadable {
        offset: i64,
        timestamp: i64,
        leader_epoch: i32,
        /// The record as it lies in the batch, without its length.
        raw: Bytes,
        reason: &'static str,
    },
}

impl Walked {
    pub(crate) fn leader_epoch(&self) -> i32 {
        match self {
            Self::Record(record) => record.leader_epoch,
            Self::Unreadable { leader_epoch, .. } => *leader_epoch,
        }
    }

    pub(crate) fn offset(&self) -> i64 {
        match self {
            Self::Record(record) => record.offset,
            Self::Unreadable { offset, .. } => *offset,
        }
    }
}

/// Iterates over the records in the `records` field of a fetch answer. After an error it ends; the
/// error names the batch, and [`Walker::next_offset`] does not pass it.
pub(crate) struct Walker {
    data: Bytes,
    options: WalkOptions,
    /// Sorted by first offset, latest first, so that the earliest is popped.
    aborted_ahead: Vec<(i64, i64)>,
    aborted_now: HashSet<i64>,
    batch: Option<Batch>,
    next_offset: i64,
    /// Behind the last offset of the batch before.
    batch_end: i64,
    saw_batch: bool,
    failed: bool,
}

/// The batch being read.
struct Batch {
    records: Bytes,
    at: usize,
    remaining: i32,
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
    leader_epoch: i32,
    last_offset: i64,
    previous_offset: i64,
}

impl Walker {
    pub(crate) fn new(data: Bytes, mut options: WalkOptions) -> Self {
        let mut aborted_ahead = std::mem::take(&mut options.aborted);
        aborted_ahead.sort_unstable_by_key(|&(_, first_offset)| std::cmp::Reverse(first_offset));
        Self {
            data,
            next_offset: options.fetch_offset,
            options,
            aborted_ahead,
            aborted_now: HashSet::new(),
            batch: None,
            batch_end: 0,
            saw_batch: false,
            failed: false,
        }
    }

    /// The offset to fetch next, once the walk has ended; while it goes on, the offset after the last
    /// item.
    pub(crate) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Whether the answer began with a batch that was cut off: nothing could be read, so that the same
    /// fetch needs a larger `partition_max_bytes`.
    pub(crate) fn is_cut_off(&self) -> bool {
        !self.saw_batch && !self.data.is_empty()
    }

    fn error(&mut self, offset: i64, last: Option<i64>, problem: BatchProblem) -> BatchError {
        self.failed = true;
        self.batch = None;
        BatchError {
            topic: self.options.topic.clone(),
            partition: self.options.partition,
            offset,
            last,
            problem,
        }
    }

    /// Opens the next batch that has records to show; `None` at the end.
    fn next_batch(&mut self) -> Result<Option<Batch>, BatchError> {
        loop {
            if self.data.len() < layout::LENGTH_OVERHEAD {
                return Ok(None);
            }
            let base_offset = get_i64(&self.data, layout::BASE_OFFSET);
            let length = get_i32(&self.data, layout::BATCH_LENGTH);
            // The magic byte comes first: older formats have other lengths. It is at the same place in all.
            if let Some(&magic) = self.data.get(layout::MAGIC)
                && magic != 2
            {
                return Err(self.error(base_offset, None, BatchProblem::Magic(magic as i8)));
            }
            let minimum = layout::RECORDS - layout::LENGTH_OVERHEAD;
            let size = match usize::try_from(length) {
                Ok(length) if length >= minimum => length + layout::LENGTH_OVERHEAD,
                _ => {
                    let problem = BatchProblem::Malformed(format!(
                        "its length is {length}, less than a header's {minimum}"
                    ));
                    return Err(self.error(base_offset, None, problem));
                }
            };
            if self.data.len() < size {
                return Ok(None);
            }
            let data = self.data.split_to(size);
            self.saw_batch = true;
            let last = base_offset
                .checked_add(i64::from(get_i32(&data, layout::LAST_OFFSET_DELTA)))
                .filter(|last| (base_offset..=MAX_OFFSET).contains(last));
            match self.open(data, base_offset) {
                Ok(Some(batch)) => return Ok(Some(batch)),
                Ok(None) => {}
                Err(problem) => {
                    // The header may be what is damaged then: the next batch tells where this one ends. Where none
                    // follows in the answer, what the header says is all there is.
                    let last = match problem {
                        BatchProblem::Checksum { .. } if self.data.len() >= 8 => {
                            self.end_before_next(base_offset)
                        }
                        _ => last,
                    };
                    return Err(self.error(base_offset, last, problem));
                }
            }
        }
    }

    /// The offset before the next batch of the answer, which lies behind a batch that began at `base_offset`.
    fn end_before_next(&self, base_offset: i64) -> Option<i64> {
        let next = self.data.get(..8)?;
        let next = i64::from_be_bytes(next.try_into().ok()?);
        (base_offset + 1..=MAX_OFFSET)
            .contains(&next)
            .then(|| next - 1)
    }

    /// The batch, or `None` if it has nothing to show; the position has moved past it then.
    fn open(&mut self, data: Bytes, base_offset: i64) -> Result<Option<Batch>, BatchProblem> {
        let expected = get_i32(&data, layout::CRC) as u32;
        let found = crc32c::crc32c(&data[layout::ATTRIBUTES..]);
        if expected != found {
            return Err(BatchProblem::Checksum { expected, found });
        }
        let attributes = get_i16(&data, layout::ATTRIBUTES);
        let last_offset_delta = get_i32(&data, layout::LAST_OFFSET_DELTA);
        let max_timestamp = get_i64(&data, layout::MAX_TIMESTAMP);
        let producer_id = get_i64(&data, layout::PRODUCER_ID);
        let count = get_i32(&data, layout::RECORD_COUNT);
        let last_offset = base_offset
            .checked_add(i64::from(last_offset_delta))
            .filter(|last| base_offset >= 0 && last_offset_delta >= 0 && *last <= MAX_OFFSET)
            .ok_or_else(|| {
                BatchProblem::Malformed(format!(
                    "it goes from offset {base_offset} to {last_offset_delta} beyond"
                ))
            })?;
        if base_offset < self.batch_end {
            return Err(BatchProblem::Malformed(format!(
                "the batch in front of it ends at offset {}",
                self.batch_end - 1
            )));
        }
        self.batch_end = last_offset + 1;
        let after = (last_offset + 1).max(self.next_offset);
        let transactional = attributes & layout::TRANSACTIONAL != 0;
        while let Some(&(producer, first_offset)) = self.aborted_ahead.last()
            && first_offset <= last_offset
        {
            self.aborted_now.insert(producer);
            self.aborted_ahead.pop();
        }
        if attributes & layout::CONTROL != 0 {
            // A marker is never shown. Both kinds end the transaction of their producer.
            self.aborted_now.remove(&producer_id);
            self.next_offset = after;
            return Ok(None);
        }
        let hidden = self.options.isolation == IsolationLevel::ReadCommitted
            && transactional
            && self.aborted_now.contains(&producer_id);
        if hidden || count == 0 || last_offset < self.options.fetch_offset {
            self.next_offset = after;
            return Ok(None);
        }
        if count < 0 {
            return Err(BatchProblem::Malformed(format!(
                "its record count is {count}"
            )));
        }
        let codec = Compression::from_attributes(attributes)?;
        let records = data.slice(layout::RECORDS..);
        let records = compression::decompress(codec, records, self.options.max_decompressed)?;
        Ok(Some(Batch {
            records,
            at: 0,
            remaining: count,
            base_offset,
            base_timestamp: get_i64(&data, layout::BASE_TIMESTAMP),
            append_time: (attributes & layout::LOG_APPEND_TIME != 0).then_some(max_timestamp),
            leader_epoch: get_i32(&data, layout::LEADER_EPOCH),
            last_offset,
            previous_offset: base_offset - 1,
        }))
    }
}

impl Iterator for Walker {
    type Item = Result<Walked, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        loop {
            let batch = match &mut self.batch {
                Some(batch) => batch,
                None => match self.next_batch() {
                    Ok(Some(batch)) => self.batch.insert(batch),
                    Ok(None) => return None,
                    Err(error) => return Some(Err(error)),
                },
            };
            match batch.next() {
                Ok(Some(walked)) => {
                    if walked.offset() < self.options.fetch_offset {
                        continue;
                    }
                    self.next_offset = walked.offset() + 1;
                    return Some(Ok(walked));
                }
                Ok(None) => {
                    self.next_offset = self.next_offset.max(batch.last_offset + 1);
                    self.batch = None;
                }
                Err(problem) => {
                    let (first, last) = (batch.base_offset, batch.last_offset);
                    return Some(Err(self.error(first, Some(last), problem)));
                }
            }
        }
    }
}

impl Batch {
    fn next(&mut self) -> Result<Option<Walked>, BatchProblem> {
        let left = self.records.len() - self.at;
        if self.remaining == 0 {
            if left > 0 {
                return Err(BatchProblem::Malformed(format!(
                    "{left} bytes follow its last record"
                )));
            }
            return Ok(None);
        }
        if self.previous_offset == self.last_offset {
            return Err(BatchProblem::Malformed(format!(
                "{} records follow the one at its last offset",
                self.remaining
            )));
        }
        let lost = || {
            BatchProblem::Malformed(format!(
                "a record's length is broken, {} records are lost",
                self.remaining
            ))
        };
        let (length, start) = varint::get_int(&self.records, self.at).ok_or_else(lost)?;
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length))
            .ok_or_else(lost)?;
        if end > self.records.len() {
            return Err(lost());
        }
        self.at = end;
        self.remaining -= 1;
        let (offset, timestamp, parsed) = self.parse(start, end);
        // Offsets only grow within a batch; a delta that says otherwise is not believed.
        let believable = offset
            .is_some_and(|offset| offset > self.previous_offset && offset <= self.last_offset);
        let walked = match parsed {
            Ok((key, value, headers)) if believable => Walked::Record(WalkedRecord {
                offset: offset.unwrap_or(self.previous_offset + 1),
                timestamp,
                leader_epoch: self.leader_epoch,
                key,
                value,
                headers,
            }),
            parsed => Walked::Unreadable {
                offset: offset
                    .filter(|_| believable)
                    .unwrap_or(self.previous_offset + 1),
                timestamp,
                leader_epoch: self.leader_epoch,
                raw: self.records.slice(start..end),
                reason: parsed.err().unwrap_or("its offset is outside its batch"),
            },
        };
        self.previous_offset = walked.offset();
        Ok(Some(walked))
    }

    /// The offset as far as it can be read, the timestamp, and the rest.
    #[inline]
    fn parse(&self, start: usize, end: usize) -> (Option<i64>, i64, Result<Fields, &'static str>) {
        let data = &self.records[..end];
        let default_time = self.append_time.unwrap_or(self.base_timestamp);
        // One byte of attributes, all unused.
        if start >= end {
            return (None, default_time, Err("it is empty"));
        }
        let Some((timestamp_delta, at)) = varint::get_long(data, start + 1) else {
            return (None, default_time, Err("its timestamp is broken"));
        };
        let timestamp = self
            .append_time
            .unwrap_or_else(|| self.base_timestamp.saturating_add(timestamp_delta));
        let Some((offset_delta, at)) = varint::get_int(data, at) else {
            return (None, timestamp, Err("its offset is broken"));
        };
        let offset = self.base_offset.checked_add(i64::from(offset_delta));
        (offset, timestamp, self.fields(data, at))
    }

    #[inline]
    fn fields(&self, data: &[u8], at: usize) -> Result<Fields, &'static str> {
        let (key, at) = self.bytes(data, at).ok_or("its key's length is broken")?;
        let (value, at) = self.bytes(data, at).ok_or("its value's length is broken")?;
        let (count, at) = varint::get_int(data, at).ok_or("its number of headers is broken")?;
        if count == 0 && at == data.len() {
            return Ok((key, value, Headers::default()));
        }
        let headers = Headers::parse(self.records.slice(at..data.len()), count)
            .ok_or("its headers are broken")?;
        Ok((key, value, headers))
    }

    /// A nullable byte field and the position behind it.
    #[inline]
    fn bytes(&self, data: &[u8], at: usize) -> Option<(Option<Bytes>, usize)> {
        let (length, at) = varint::get_int(data, at)?;
        if length == -1 {
            return Some((None, at));
        }
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        (end <= data.len()).then(|| (Some(self.records.slice(at..end)), end))
    }
}

type Fields = (Option<Bytes>, Option<Bytes>, Headers);

fn get_i16(data: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(data[at..at + 2].try_into().expect("two bytes"))
}

fn get_i32(data: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(data[at..at + 4].try_into().expect("four bytes"))
}

fn get_i64(data: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(data[at..at + 8].try_into().expect("eight bytes"))
}
