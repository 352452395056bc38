//! What tells a topic from another one of the same name (KIP-516).

use std::fmt;
use std::num::NonZeroU128;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use uuid::Uuid;

/// The id that Kafka gives a topic when it is created. A topic that is deleted and created again has
/// another id, and its offsets mean other records: whoever keeps offsets outside of Kafka keeps the
/// id with them. Brokers before Kafka 2.8 give none, which is `None` wherever an id is optional.
///
/// As text it is what Kafka's own tools show: 22 characters of URL-safe base64.
///
/// ```
/// use kafka::TopicId;
///
/// let id: TopicId = "AAAAAAAAAAAAAAAAAAAAAQ".parse().unwrap();
/// assert_eq!(id.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
/// assert!("AAAAAAAAAAAAAAAAAAAAAA".parse::<TopicId>().is_err(), "zero stands for none");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(NonZeroU128);

/// A text that is no [`TopicId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no topic id: Kafka writes 22 characters of URL-safe base64, which are not all zero"
)]
pub struct InvalidTopicId(pub String);

impl TopicId {
    /// The id as a number; `None` for 0, by which the protocol means that there is none.
    pub fn from_u128(id: u128) -> Option<Self> {
        NonZeroU128::new(id).map(Self)
    }

    /// The id as a number, the first byte of its UUID first.
    pub fn as_u128(self) -> u128 {
        self.0.get()
    }

    /// As requests carry it: zero where it is not known.
    pub(crate) fn to_wire(id: Option<Self>) -> Uuid {
        Uuid::from_u128(id.map_or(0, Self::as_u128))
    }

    /// Whether both ids are known and differ: then an offset of the one says nothing of the other.
    pub fn differ(one: Option<Self>, other: Option<Self>) -> bool {
        matches!((one, other), (Some(one), Some(other)) if one != other)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 22];
        let bytes = self.0.get().to_be_bytes();
        let length = URL_SAFE_NO_PAD
            .encode_slice(bytes, &mut text)
            .map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text[..length]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

impl FromStr for TopicId {
    type Err = InvalidTopicId;

    fn from_str(text: &str) -> Result<Self, InvalidTopicId> {
        let invalid = || InvalidTopicId(text.chars().take(40).collect());
        let mut bytes = [0; 16];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(16) => Self::from_u128(u128::from_be_bytes(bytes)).ok_or_else(invalid),
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for id in [1, u128::MAX, 0x0123_4567_89ab_4def_8123_4567_89ab_cdef] {
            let id = TopicId::from_u128(id).unwrap();
            assert_eq!(id.to_string().len(), 22);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        // As `kafka-topics.sh --describe` shows it.
        let id = TopicId::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef).unwrap();
        assert_eq!(id.to_string(), "ASNFZ4mrTe-BI0VniavN7w");
    }

    #[test]
    fn anything_else_is_refused() {
        for wrong in [
            "",
            "x",
            "ASNFZ4mrTe-BI0VniavN7",
            "ASNFZ4mrTe-BI0VniavN7wAA",
            "ASNFZ4mrTe+BI0VniavN7w",
        ] {
            assert!(wrong.parse::<TopicId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_known_differs_from_nothing() {
        let [one, other] = [1, 2].map(TopicId::from_u128);
        assert!(TopicId::differ(one, other) && !TopicId::differ(one, one));
        assert!(!TopicId::differ(one, None) && !TopicId::differ(None, other));
    }
}
