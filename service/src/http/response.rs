use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use super::body::Body;

/// What handlers answer with.
pub type Response = hyper::Response<Body>;

/// `value` as JSON.
///
/// # Panics
/// If the value cannot be JSON (a map with keys that are no text): an error of the program.
pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    let body = serde_json::to_vec(value).expect("a response body that serialises");
    json_bytes(status, Bytes::from(body))
}

/// Bytes that are JSON already.
pub fn json_bytes(status: StatusCode, body: Bytes) -> Response {
    with_type(status, body, "application/json")
}

/// No body at all, such as 204 has.
pub fn empty(status: StatusCode) -> Response {
    let mut response = hyper::Response::new(Body::Full(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Plain UTF-8 text.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    with_type(status, body.into(), "text/plain; charset=utf-8")
}

pub(crate) fn with_type(status: StatusCode, body: Bytes, content_type: &'static str) -> Response {
    let mut response = hyper::Response::new(Body::Full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
