//! Kafka's messages decoded within bounds, for the client layer and the broker.
//!
//! The generated decoders of `kafka-protocol` make room for as many elements as an array claims: a
//! few bytes could claim billions. They also read a tagged field that they know without looking at
//! the size it claims. So [`decode`] walks the bytes first, along the layout of their kind, at no
//! cost in memory, and lets the decoder see only what is all there and whose elements together
//! stay within [`memory_limit`]. A message that was added to one side without its layout does not
//! compile.

#[cfg(test)]
mod fitting;
mod requests;
mod responses;
mod walk;

use bytes::Bytes;
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::Decodable;

pub use self::walk::{Shape, ShapeError, Walk, memory_limit};

/// Why bytes are no message of their kind.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A length or a count that the bytes do not bear out.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// What the decoder said: text that is no UTF-8, a null where none may be.
    #[error("{0}")]
    Content(String),
}

/// The body of a response. Text and byte fields are slices of it.
///
/// # Errors
/// When it is not exactly one message of this kind and version.
pub fn decode<M: Shape + Decodable>(mut body: Bytes, version: i16) -> Result<M, DecodeError> {
    walk::check::<M>(&body, version)?;
    M::decode(&mut body, version).map_err(|error| DecodeError::Content(error.to_string()))
}

/// The body of a request as a broker reads it: what follows the message is ignored, as Apache Kafka
/// ignores it in every request. librdkafka 2.3 to 2.16 sends three bytes too many when it asks for the
/// metadata of all topics. Text and byte fields are slices of the body.
///
/// # Errors
/// When it does not begin with a message of this kind and version.
pub fn decode_request<M: Shape + Decodable>(
    mut body: Bytes,
    version: i16,
) -> Result<M, DecodeError> {
    walk::check_front::<M>(&body, version)?;
    M::decode(&mut body, version).map_err(|error| DecodeError::Content(error.to_string()))
}

/// The header at the front of a request's frame, which is left with the body.
///
/// # Errors
/// When the frame does not begin with a header of this version.
pub fn decode_request_header(
    frame: &mut Bytes,
    header_version: i16,
) -> Result<RequestHeader, DecodeError> {
    walk::check_request_header(frame, header_version)?;
    RequestHeader::decode(frame, header_version)
        .map_err(|error| DecodeError::Content(error.to_string()))
}

/// The header at the front of a response's frame, which is left with the body.
///
/// # Errors
/// When the frame does not begin with a header of this version.
pub fn decode_response_header(
    frame: &mut Bytes,
    header_version: i16,
) -> Result<ResponseHeader, DecodeError> {
    walk::check_response_header(frame, header_version)?;
    ResponseHeader::decode(frame, header_version)
        .map_err(|error| DecodeError::Content(error.to_string()))
}

/// Topics of a consumer's subscription, whatever its version: later ones only add fields behind.
///
/// # Errors
/// When it does not begin with a version and a list of topics.
pub fn subscribed_topics(metadata: &[u8]) -> Result<Vec<String>, DecodeError> {
    walk::subscribed_topics(metadata)
}
