//! Whether a request's bytes have the shape of their kind, checked before anything is allocated.
//!
//! The generated decoders make room for as many elements as an array claims; a few bytes could
//! claim billions. This walk costs no memory, follows every length, and lets through only what is
//! all there.

mod requests;

use kafka_protocol::protocol::HeaderVersion;

/// Elements of all arrays of one request together. Far above what any client sends; in memory an
/// element takes up to about 150 bytes.
const MAX_ELEMENTS: u64 = 1_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShapeError {
    #[error("it ends too early")]
    Short,
    #[error("a length is negative")]
    Negative,
    #[error("a number is coded in too many bytes")]
    Varint,
    #[error("it has more than {MAX_ELEMENTS} elements")]
    TooMany,
    #[error("it has {0} bytes too many")]
    Long(usize),
}

type Checked = Result<(), ShapeError>;

/// The layout of one kind of request, in the versions served.
pub(crate) trait Shape {
    fn shape(walk: &mut Walk<'_>) -> Checked;
}

/// Checks a request's body.
pub(crate) fn check<R: Shape + HeaderVersion>(body: &[u8], version: i16) -> Checked {
    let mut walk = Walk {
        rest: body,
        version,
        // Requests have tagged fields and compact lengths exactly when their header is version 2.
        flexible: R::header_version(version) >= 2,
        elements: 0,
    };
    R::shape(&mut walk)?;
    match walk.rest.len() {
        0 => Ok(()),
        more => Err(ShapeError::Long(more)),
    }
}

/// Checks the header at the front of a request.
pub(crate) fn check_header(frame: &[u8], header_version: i16) -> Checked {
    let mut walk = Walk {
        rest: frame,
        version: header_version,
        flexible: false,
        elements: 0,
    };
    walk.skip(8)?;
    if header_version >= 1 {
        // The client id is never compact, so that a broker can read it from any version.
        walk.string()?;
    }
    walk.flexible = header_version >= 2;
    walk.tags()
}

/// Checks the version and topics at the front of a consumer's subscription.
pub(crate) fn check_subscription(metadata: &[u8]) -> Checked {
    let mut walk = Walk {
        rest: metadata,
        version: 0,
        flexible: false,
        elements: 0,
    };
    walk.skip(2)?;
    walk.array(Walk::string)?;
    walk.bytes()
}

pub(crate) struct Walk<'a> {
    rest: &'a [u8],
    pub(crate) version: i16,
    flexible: bool,
    elements: u64,
}

impl Walk<'_> {
    fn skip(&mut self, bytes: usize) -> Checked {
        self.rest = self.rest.get(bytes..).ok_or(ShapeError::Short)?;
        Ok(())
    }

    /// A string or null.
    fn string(&mut self) -> Checked {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            let (length, rest) = self.rest.split_first_chunk().ok_or(ShapeError::Short)?;
            self.rest = rest;
            nullable(i16::from_be_bytes(*length).into())?
        };
        self.skip(length.unwrap_or(0))
    }

    /// Bytes or null.
    fn bytes(&mut self) -> Checked {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            self.long_length()?
        };
        self.skip(length.unwrap_or(0))
    }

    /// An array or null.
    fn array(&mut self, mut element: impl FnMut(&mut Self) -> Checked) -> Checked {
        let count = if self.flexible {
            self.compact_length()?
        } else {
            self.long_length()?
        };
        let count = count.unwrap_or(0) as u64;
        // Judged before the walk: an element may take no bytes at all.
        self.elements = self.elements.saturating_add(count);
        if self.elements > MAX_ELEMENTS {
            return Err(ShapeError::TooMany);
        }
        for _ in 0..count {
            element(self)?;
        }
        Ok(())
    }

    /// Tagged fields, where the version has them.
    fn tags(&mut self) -> Checked {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.skip(length as usize)?;
        }
        Ok(())
    }

    fn long_length(&mut self) -> Result<Option<usize>, ShapeError> {
        let (length, rest) = self.rest.split_first_chunk().ok_or(ShapeError::Short)?;
        self.rest = rest;
        nullable(i32::from_be_bytes(*length))
    }

    fn compact_length(&mut self) -> Result<Option<usize>, ShapeError> {
        Ok(self.varint()?.checked_sub(1).map(|length| length as usize))
    }

    fn varint(&mut self) -> Result<u32, ShapeError> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let (byte, rest) = self.rest.split_first().ok_or(ShapeError::Short)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| ShapeError::Varint);
            }
        }
        Err(ShapeError::Varint)
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

#[cfg(test)]
mod tests;
