use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Serialize;
use serde_json::{Map, Value};

use super::body::Body;
use super::response::Response;

/// A refusal as `application/problem+json` (RFC 9457). `type` is `about:blank`, so `title` is the
/// status phrase; `detail` says what was wrong and what to do.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    errors: Vec<FieldProblem>,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One wrong field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldProblem {
    pub field: Cow<'static, str>,
    pub detail: Cow<'static, str>,
}

impl FieldProblem {
    pub fn new(field: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            field: field.into(),
            detail: detail.into(),
        }
    }
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            detail: detail.into(),
            errors: Vec::new(),
            extensions: Map::new(),
            headers: Vec::new(),
        }
    }

    /// 400: the request cannot be read.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 422: readable, but these fields are wrong.
    pub fn unprocessable(errors: Vec<FieldProblem>) -> Self {
        let names: Vec<&str> = errors.iter().map(|e| e.field.as_ref()).collect();
        let detail = format!("wrong fields: {}", names.join(", "));
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
        problem.errors = errors;
        problem
    }

    /// 503 with `Retry-After` in whole seconds, at least 1.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .header(RETRY_AFTER, HeaderValue::from(seconds as u64))
    }

    /// 500, for what should not happen; the cause goes to the log, not to the client.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "something failed that should not have; the service's log has the cause",
        )
    }

    /// An extension member of the document, such as `orderId`.
    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(member.to_owned(), value.into());
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn into_response(self) -> Response {
        let body = self.document();
        let mut response = hyper::Response::new(Body::Full(Bytes::from(body)));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.extend(self.headers);
        response
    }

    /// The last answer of a connection, as its bytes, for where there is no request to answer.
    pub(crate) fn into_last_words(self) -> Vec<u8> {
        let body = self.document();
        let mut words = format!(
            "HTTP/1.1 {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             connection: close\r\n",
            self.status,
            body.len()
        )
        .into_bytes();
        for (name, value) in &self.headers {
            words.extend_from_slice(name.as_str().as_bytes());
            words.extend_from_slice(b": ");
            words.extend_from_slice(value.as_bytes());
            words.extend_from_slice(b"\r\n");
        }
        words.extend_from_slice(b"\r\n");
        words.extend_from_slice(&body);
        words
    }

    fn document(&self) -> Vec<u8> {
        let document = Document {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            errors: &self.errors,
            extensions: &self.extensions,
        };
        serde_json::to_vec(&document).expect("a document of texts and numbers")
    }
}

/// The members in the order in which people read them.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldProblem],
    #[serde(flatten)]
    extensions: &'a Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_every_wrong_field() {
        let problem = Problem::unprocessable(vec![
            FieldProblem {
                field: "quantity".into(),
                detail: "must be at least 1".into(),
            },
            FieldProblem {
                field: "product".into(),
                detail: "is missing".into(),
            },
        ]);
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let Body::Full(bytes) = response.into_body() else {
            panic!("stream")
        };
        let document: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(document["status"], 422);
        assert_eq!(document["title"], "Unprocessable Entity");
        assert_eq!(document["errors"][0]["field"], "quantity");
        assert_eq!(document["errors"][1]["field"], "product");
        assert_eq!(document["detail"], "wrong fields: quantity, product");
    }

    #[test]
    fn retry_after_is_whole_seconds() {
        let header = |millis| {
            Problem::unavailable("away", Duration::from_millis(millis))
                .with("orderId", "7")
                .into_response()
                .headers()[RETRY_AFTER]
                .clone()
        };
        assert_eq!(header(0), "1");
        assert_eq!(header(1_200), "2");
    }
}
