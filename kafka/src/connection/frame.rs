//! A request's frame and its answer's.

use bytes::{BufMut as _, Bytes, BytesMut};
use kafka_protocol::{
    error::ResponseError,
    messages::{ApiKey, RequestHeader},
    protocol::{Encodable as _, HeaderVersion as _, Request, StrBytes},
};
use wire::Shape;

/// A call's frame, length prefix included.
pub(crate) fn encode<R: Request>(
    request: &R,
    api: ApiKey,
    version: i16,
    correlation: i32,
    client_id: &StrBytes,
) -> Result<Bytes, String> {
    let wrong = |error| format!("the request cannot be encoded in version {version}: {error}");
    let header = RequestHeader::default()
        .with_request_api_key(api as i16)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(client_id.clone()));
    let header_version = R::header_version(version);
    let size = header.compute_size(header_version).map_err(wrong)?
        + request.compute_size(version).map_err(wrong)?;
    let mut frame = BytesMut::with_capacity(size + 4);
    frame.put_i32(0);
    header.encode(&mut frame, header_version).map_err(wrong)?;
    request.encode(&mut frame, version).map_err(wrong)?;
    let size = frame.len() - 4;
    let prefix = i32::try_from(size)
        .map_err(|_| format!("the request has {size} bytes, more than a frame can carry"))?;
    frame[..4].copy_from_slice(&prefix.to_be_bytes());
    Ok(frame.freeze())
}

/// The answer in a frame without its length prefix. Byte fields are slices of the frame.
pub(crate) fn decode<R: Request<Response: Shape>>(
    mut frame: Bytes,
    version: i16,
) -> Result<R::Response, String> {
    let mut response_version = version;
    // A broker that does not know the version of an ApiVersions request answers it in version 0.
    if R::KEY == ApiKey::ApiVersions as i16
        && frame.len() >= 6
        && frame[4..6] == UNSUPPORTED_VERSION
    {
        response_version = 0;
    }
    wire::decode_response_header(&mut frame, R::Response::header_version(response_version))
        .map_err(|error| format!("the answer's header cannot be decoded: {error}"))?;
    wire::decode(frame, response_version).map_err(|error| {
        format!("the answer cannot be decoded in version {response_version}: {error}")
    })
}

const UNSUPPORTED_VERSION: [u8; 2] = ResponseError::UnsupportedVersion.code().to_be_bytes();

pub(super) fn api_key<R: Request>() -> ApiKey {
    ApiKey::try_from(R::KEY).expect("every request type has a known key")
}
