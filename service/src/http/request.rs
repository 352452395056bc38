use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::poll_fn;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName,
    HeaderValue, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode, Version};
use proto::Traceparent;

use super::problem::{FieldProblem, Problem};
use super::query::{self, Query};
use super::router::RouteParameters;
use super::watchdog::Watched;

/// A request whose head has been read and whose body has not.
pub struct Request {
    pub(crate) parts: Parts,
    pub(crate) body: Incoming,
    pub(crate) parameters: RouteParameters,
    pub(crate) peer: SocketAddr,
    pub(crate) limits: BodyLimits,
    pub(crate) watched: Arc<Watched>,
}

#[derive(Clone, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) max_bytes: usize,
    pub(crate) timeout: Duration,
    pub(crate) arriving: Arc<Arriving>,
}

/// Bytes of all bodies of a server that have begun to arrive and are not complete: many clients
/// that stall half-way must not fill the memory.
#[derive(Debug, Default)]
pub(crate) struct Arriving(AtomicUsize);

/// A thousand bodies of the default `MAX_BODY_BYTES`; those that come in one piece do not count.
const MAX_ARRIVING: usize = 64 << 20;

/// Longest `Idempotency-Key` in bytes: far past any UUID or hash, and a bound on what is hashed.
const MAX_KEY_BYTES: usize = 255;

/// One body's share of [`Arriving`], given back when dropped.
struct Share<'a> {
    of: &'a Arriving,
    bytes: usize,
}

impl Share<'_> {
    fn add(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.of.0.fetch_add(bytes, Relaxed) + bytes <= MAX_ARRIVING
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Relaxed);
    }
}

impl Request {
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// HTTP/1.0 or HTTP/1.1.
    pub fn version(&self) -> Version {
        self.parts.version
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The other end of the connection.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The host, perhaps with a port, that the client means to speak to: that of an absolute URI, else
    /// the one `Host` header (RFC 9112, 3.3). `None` where there is none, or several, or no text.
    pub fn host(&self) -> Option<&str> {
        if let Some(authority) = self.parts.uri.authority() {
            return Some(authority.as_str());
        }
        let mut hosts = self.parts.headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => host.to_str().ok(),
            _ => None,
        }
    }

    /// A header as text; `None` where it is absent or no text.
    pub fn header(&self, name: impl Into<HeaderName>) -> Option<&str> {
        self.parts.headers.get(name.into())?.to_str().ok()
    }

    /// A header by a name that is no constant of the `header` module.
    pub fn header_named(&self, name: &'static str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// A `{name}` of the route's path, percent-decoded; empty where the route has none.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters
            .path
            .iter()
            .find(|(n, _)| n == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// A `{name}` of the path that is an id.
    ///
    /// # Errors
    /// 422: it is no whole number from 1 on.
    pub fn id(&self, name: &'static str) -> Result<i64, Problem> {
        let id = self.parameter(name).parse().ok().filter(|id| *id > 0);
        id.ok_or_else(|| {
            let wrong = FieldProblem::new(name, "must be a whole number from 1 on");
            Problem::unprocessable(vec![wrong])
        })
    }

    /// The first value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.parts.uri.query()?;
        form_urlencoded::parse(query.as_bytes())
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.into_owned())
    }

    /// Whether the route takes all query parameters that are given.
    ///
    /// # Errors
    /// 422 that names those it does not know, and those it does.
    pub(crate) fn check_query_names(&self) -> Result<(), Problem> {
        match self.parts.uri.query() {
            None | Some("") => Ok(()),
            Some(text) => query::check_names(text, self.parameters.queries),
        }
    }

    /// The query parameters, to be checked as they are taken.
    pub fn checked_query(&self) -> Query {
        Query::read(self.parts.uri.query().unwrap_or_default())
    }

    /// The trace that the request belongs to, in a span of its own; a new one where it names none.
    pub fn trace(&self) -> Traceparent {
        let parent = self.parts.headers.get("traceparent");
        Traceparent::continued(parent.map(HeaderValue::as_bytes))
    }

    /// Whether the query names `name`, with or without a value.
    pub fn has_query(&self, name: &str) -> bool {
        self.query(name).is_some()
    }

    /// The `Idempotency-Key`, by which a request is the same when it is sent again.
    ///
    /// # Errors
    /// 400: it is empty, longer than 255 bytes, or not of visible ASCII characters.
    pub fn idempotency_key(&self) -> Result<Option<&str>, Problem> {
        let Some(key) = self.parts.headers.get("idempotency-key") else {
            return Ok(None);
        };
        match key.to_str() {
            Ok(key) if !key.is_empty() && key.len() <= MAX_KEY_BYTES => Ok(Some(key)),
            _ => Err(Problem::bad_request(format!(
                "the Idempotency-Key must be 1 to {MAX_KEY_BYTES} visible ASCII characters"
            ))),
        }
    }

    /// A JSON body, declared as such; see [`Request::body`].
    ///
    /// # Errors
    /// 415 where the `Content-Type` is missing or another, names a charset other than UTF-8, or the
    /// body is UTF-16 or UTF-32 all the same; and those of [`Request::body`].
    pub async fn json(&mut self) -> Result<Bytes, Problem> {
        self.require_json()?;
        let body = self.body().await?;
        require_utf8(&body)?;
        Ok(body)
    }

    /// [`Request::json`], or nothing at all, which needs no `Content-Type`.
    ///
    /// # Errors
    /// Those of [`Request::json`].
    pub async fn json_or_nothing(&mut self) -> Result<Bytes, Problem> {
        let declared = self.parts.headers.contains_key(CONTENT_TYPE);
        if declared {
            self.require_json()?;
        }
        let body = self.body().await?;
        if !declared && !body.is_empty() {
            self.require_json()?;
        }
        require_utf8(&body)?;
        Ok(body)
    }

    fn require_json(&self) -> Result<(), Problem> {
        let given = self.parts.headers.get(CONTENT_TYPE);
        let given = given.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let mut parts = given.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Err(unsupported(
                "the body must be declared as Content-Type: application/json",
            ));
        }
        let charset = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            let value = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("charset").then_some(value)
        });
        // ASCII is UTF-8, too.
        match charset {
            None => Ok(()),
            Some(charset)
                if ["utf-8", "utf8", "us-ascii", "ascii"]
                    .iter()
                    .any(|known| charset.eq_ignore_ascii_case(known)) =>
            {
                Ok(())
            }
            Some(_) => Err(not_utf8()),
        }
    }

    /// The whole body, at most `MAX_BODY_BYTES`, within the read timeout.
    ///
    /// # Errors
    /// 413 for a longer one (before reading it, where `Content-Length` tells), 408 for one that
    /// does not arrive in time, 400 for one cut short or malformed, 415 for one with a
    /// `Content-Encoding`, 501 for a transfer coding other than chunked, 503 while too many others
    /// are arriving.
    pub async fn body(&mut self) -> Result<Bytes, Problem> {
        self.require_plain()?;
        let limits = &self.limits;
        if let Some(length) = self.parts.headers.get(CONTENT_LENGTH) {
            let length = length.to_str().ok().and_then(|l| l.parse::<u64>().ok());
            if length.is_none_or(|length| length > limits.max_bytes as u64) {
                return Err(too_large(limits.max_bytes));
            }
        }
        self.watched.body();
        // `timeout` polls the body first: one that came with its head costs no timer.
        let result = tokio::time::timeout(limits.timeout, collect(&mut self.body, limits)).await;
        self.watched.busy();
        match result {
            Ok(result) => result,
            Err(_) => Err(last(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            ))),
        }
    }
}

impl Request {
    /// Compressed, a small body may become a huge one; nobody needs to compress 64 KiB.
    fn require_plain(&self) -> Result<(), Problem> {
        let headers = &self.parts.headers;
        if all_but(headers, &TRANSFER_ENCODING, "chunked") {
            // hyper has seen that chunked is the last one.
            return Err(last(Problem::new(
                StatusCode::NOT_IMPLEMENTED,
                "of transfer codings, the service knows only chunked; send the body as it is",
            )));
        }
        if all_but(headers, &CONTENT_ENCODING, "identity") {
            let problem = unsupported(
                "the body has a Content-Encoding; the service takes none, send it uncompressed",
            );
            // RFC 7694, 3: which ones would be taken.
            return Err(last(
                problem.header(ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            ));
        }
        Ok(())
    }
}

/// Whether a header lists anything but `known`.
fn all_but(headers: &HeaderMap, name: &HeaderName, known: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        let listed = value.to_str().unwrap_or("?").split(',').map(str::trim);
        listed
            .filter(|coding| !coding.is_empty())
            .any(|coding| !coding.eq_ignore_ascii_case(known))
    })
}

/// JSON begins with an ASCII character, so that UTF-16 and UTF-32 show by a zero byte or by their
/// byte order mark (RFC 4627, 3).
fn require_utf8(body: &[u8]) -> Result<(), Problem> {
    match body {
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] | [0, _, ..] | [_, 0, ..] => Err(not_utf8()),
        _ => Ok(()),
    }
}

fn not_utf8() -> Problem {
    unsupported("the body must be in UTF-8: JSON is exchanged in no other charset (RFC 8259, 8.1)")
}

fn unsupported(detail: &'static str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
}

async fn collect(body: &mut Incoming, limits: &BodyLimits) -> Result<Bytes, Problem> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut length = 0;
    let mut share = Share {
        of: &limits.arriving,
        bytes: 0,
    };
    while !body.is_end_stream() {
        let frame = poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            last(Problem::bad_request(format!(
                "the body could not be read: {error}"
            )))
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if length > limits.max_bytes {
            return Err(too_large(limits.max_bytes));
        }
        if !body.is_end_stream() && !share.add(data.len()) {
            return Err(last(Problem::unavailable(
                "too many request bodies are arriving",
                Duration::from_secs(1),
            )));
        }
        match &first {
            // The usual body is one piece, and is used as it is.
            None => first = Some(data),
            Some(head) => {
                if rest.is_empty() {
                    rest.extend_from_slice(head);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(if rest.is_empty() {
        first.unwrap_or_default()
    } else {
        rest.freeze()
    })
}

/// The connection ends with this answer, since the rest of the body is not read.
fn last(problem: Problem) -> Problem {
    problem.header(CONNECTION, HeaderValue::from_static("close"))
}

fn too_large(max_bytes: usize) -> Problem {
    last(Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is longer than {max_bytes} bytes (MAX_BODY_BYTES)"),
    ))
}
