//! The walk over a message's bytes that follows every length and holds none of them.

use kafka_protocol::protocol::HeaderVersion;

use crate::DecodeError;

/// The largest structure that may be decoded from so many bytes, in bytes of memory, without the
/// frame itself: 16 times as much and 1 MiB, at most 256 MiB. Real answers take up to 10 times.
pub fn memory_limit(bytes: usize) -> usize {
    bytes
        .saturating_mul(16)
        .saturating_add(1 << 20)
        .min(256 << 20)
}

/// What an entry of a map of unknown tagged fields takes, its share of the nodes included.
const TAG_MEMORY: usize = 96;

/// Bytes that are no message of their kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A length or a count goes beyond the end.
    #[error("it ends too early")]
    Short,
    /// Below the -1 of a null.
    #[error("a length is negative")]
    Negative,
    /// More than five bytes, or beyond 32 bits.
    #[error("a number is coded in too many bytes")]
    Varint,
    /// More than [`memory_limit`] would be taken.
    #[error("its elements would take more than {limit} bytes of memory")]
    TooMany {
        /// The limit for a message of its size.
        limit: usize,
    },
    /// The field is longer or shorter than its tag says.
    #[error("the tagged field {0} has another size than it claims")]
    Tag(u32),
    /// What is behind the message.
    #[error("it has {0} bytes too many")]
    Long(usize),
}

pub(crate) type Checked = Result<(), ShapeError>;

/// The layout of one kind of message, in every version of it.
pub trait Shape: HeaderVersion {
    /// Whether this version has compact lengths and tagged fields (KIP-482).
    fn flexible(version: i16) -> bool;

    /// Walks over one.
    ///
    /// # Errors
    /// Where the bytes contradict the layout.
    fn walk(walk: &mut Walk<'_>) -> Result<(), ShapeError>;
}

/// Checks a message's body.
pub(crate) fn check<M: Shape>(body: &[u8], version: i16) -> Checked {
    match check_front::<M>(body, version)? {
        0 => Ok(()),
        more => Err(ShapeError::Long(more)),
    }
}

/// Checks the message at the front of a body; says how many bytes follow it.
pub(crate) fn check_front<M: Shape>(body: &[u8], version: i16) -> Result<usize, ShapeError> {
    let mut walk = Walk::new(body, version, M::flexible(version));
    M::walk(&mut walk)?;
    Ok(walk.rest.len())
}

/// Checks the header at the front of a request.
pub(crate) fn check_request_header(frame: &[u8], header_version: i16) -> Checked {
    let mut walk = Walk::new(frame, header_version, false);
    walk.skip(8)?;
    if header_version >= 1 {
        // The client id is never compact, so that a broker can read it from any version.
        walk.string()?;
    }
    walk.flexible = header_version >= 2;
    walk.tags()
}

/// Checks the header at the front of a response.
pub(crate) fn check_response_header(frame: &[u8], header_version: i16) -> Checked {
    let mut walk = Walk::new(frame, header_version, header_version >= 1);
    walk.skip(4)?;
    walk.tags()
}

/// Reads the version and topics at the front of a consumer's subscription.
pub(crate) fn subscribed_topics(metadata: &[u8]) -> Result<Vec<String>, DecodeError> {
    let mut walk = Walk::new(metadata, 0, false);
    let mut topics = Vec::new();
    let mut unreadable = None;
    walk.skip(2)?;
    walk.array::<String>(|walk| {
        match std::str::from_utf8(walk.text()?) {
            Ok(topic) => topics.push(topic.to_owned()),
            Err(error) => unreadable = Some(error),
        }
        Ok(())
    })?;
    match unreadable {
        None => Ok(topics),
        Some(error) => Err(DecodeError::Content(error.to_string())),
    }
}

/// A place in a message's bytes.
pub struct Walk<'a> {
    rest: &'a [u8],
    pub(crate) version: i16,
    flexible: bool,
    /// What the elements passed so far take once they are decoded.
    memory: usize,
    limit: usize,
}

impl<'a> Walk<'a> {
    fn new(rest: &'a [u8], version: i16, flexible: bool) -> Self {
        Self {
            rest,
            version,
            flexible,
            memory: 0,
            limit: memory_limit(rest.len()),
        }
    }

    fn take(&mut self, bytes: usize) -> Result<&'a [u8], ShapeError> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(ShapeError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn hold(&mut self, memory: usize) -> Checked {
        self.memory = self.memory.saturating_add(memory);
        if self.memory > self.limit {
            return Err(ShapeError::TooMany { limit: self.limit });
        }
        Ok(())
    }

    pub(crate) fn skip(&mut self, bytes: usize) -> Checked {
        self.take(bytes).map(|_| ())
    }

    /// `bytes` if the version is this one or a later one, otherwise 0.
    pub(crate) fn since(&self, version: i16, bytes: usize) -> usize {
        if self.version >= version { bytes } else { 0 }
    }

    fn text(&mut self) -> Result<&'a [u8], ShapeError> {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            let length = *self.chunk()?;
            nullable(i16::from_be_bytes(length).into())?
        };
        self.take(length.unwrap_or(0))
    }

    /// A string or null.
    pub(crate) fn string(&mut self) -> Checked {
        self.text().map(|_| ())
    }

    /// Bytes or null.
    pub(crate) fn bytes(&mut self) -> Checked {
        let length = self.length()?;
        self.skip(length.unwrap_or(0))
    }

    /// An array or null, of elements that are decoded as `T`.
    pub(crate) fn array<T>(&mut self, mut element: impl FnMut(&mut Self) -> Checked) -> Checked {
        let count = self.length()?.unwrap_or(0);
        // Judged before the walk: an element may take no bytes at all.
        self.hold(count.saturating_mul(size_of::<T>()))?;
        for _ in 0..count {
            element(self)?;
        }
        Ok(())
    }

    /// The next byte, which stays.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Tagged fields, where the version has them.
    pub(crate) fn tags(&mut self) -> Checked {
        self.known_tags(|_, _| Ok(false))
    }

    /// Tagged fields. `known` walks over those that the decoder knows, and says whether it was one:
    /// the decoder goes by the field, not by the size it claims, so that both have to agree.
    pub(crate) fn known_tags(
        &mut self,
        mut known: impl FnMut(&mut Walk<'a>, u32) -> Result<bool, ShapeError>,
    ) -> Checked {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            let tag = self.varint()?;
            let size = self.varint()?;
            let mut field = Walk {
                rest: self.take(size as usize)?,
                ..*self
            };
            if !known(&mut field, tag)? {
                field.hold(TAG_MEMORY)?;
            } else if !field.rest.is_empty() {
                return Err(ShapeError::Tag(tag));
            }
            self.memory = field.memory;
        }
        Ok(())
    }

    fn length(&mut self) -> Result<Option<usize>, ShapeError> {
        if self.flexible {
            return self.compact_length();
        }
        let length = *self.chunk()?;
        nullable(i32::from_be_bytes(length))
    }

    fn compact_length(&mut self) -> Result<Option<usize>, ShapeError> {
        Ok(self.varint()?.checked_sub(1).map(|length| length as usize))
    }

    fn varint(&mut self) -> Result<u32, ShapeError> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = *self.chunk()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| ShapeError::Varint);
            }
        }
        Err(ShapeError::Varint)
    }

    fn chunk<const N: usize>(&mut self) -> Result<&'a [u8; N], ShapeError> {
        let (chunk, rest) = self.rest.split_first_chunk().ok_or(ShapeError::Short)?;
        self.rest = rest;
        Ok(chunk)
    }
}

fn nullable(length: i32) -> Result<Option<usize>, ShapeError> {
    match length {
        -1 => Ok(None),
        length => usize::try_from(length)
            .map(Some)
            .map_err(|_| ShapeError::Negative),
    }
}
