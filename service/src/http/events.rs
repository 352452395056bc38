//! Server-sent events (WHATWG HTML, "Server-sent events") as a response body.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::body::Body;
use super::response::Response;
use super::watchdog::Streaming;

/// The contract's keep-alive: a stream is never silent for longer.
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event, rendered once and shared by all who get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFrame(pub(crate) Bytes);

impl EventFrame {
    /// An event. Line breaks in `data` become several `data:` lines; `id` and `name` are cut at
    /// the first line break, so nothing can smuggle in further fields.
    pub fn new(id: Option<&str>, name: Option<&str>, data: &str) -> Self {
        let mut text = String::with_capacity(data.len() + 64);
        field(&mut text, "id", id);
        field(&mut text, "event", name);
        for line in data.split(['\n', '\r']) {
            text.push_str("data: ");
            text.push_str(line);
            text.push('\n');
        }
        text.push('\n');
        Self(Bytes::from(text))
    }

    /// Sets the client's last event id without an event: a block without data is not dispatched.
    pub fn position(id: &str) -> Self {
        let mut text = String::with_capacity(id.len() + 8);
        field(&mut text, "id", Some(id));
        text.push('\n');
        Self(Bytes::from(text))
    }

    /// Tells the client how long to wait before it connects again.
    pub fn retry(after: Duration) -> Self {
        Self(Bytes::from(format!("retry: {}\n\n", after.as_millis())))
    }
}

fn field(text: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value.split(['\n', '\r', '\0']).next().unwrap_or_default());
        text.push('\n');
    }
}

/// The sending half of a stream. Dropped: the stream ends after what was sent.
#[derive(Debug)]
pub struct EventSender(mpsc::Sender<Bytes>);

impl EventSender {
    /// Waits for room. `false`: the client is gone.
    pub async fn send(&self, frame: EventFrame) -> bool {
        self.0.send(frame.0).await.is_ok()
    }

    /// `false`: the client is gone or too slow; the caller drops it.
    pub fn try_send(&self, frame: EventFrame) -> bool {
        self.0.try_send(frame.0).is_ok()
    }

    /// Whether the client is gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Resolves when the client is gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

#[cfg(test)]
impl EventSender {
    /// A sender and what it sends, without a response around it.
    pub(crate) fn pair(buffer: usize) -> (Self, mpsc::Receiver<Bytes>) {
        let (sender, receiver) = mpsc::channel(buffer);
        (Self(sender), receiver)
    }
}

/// The receiving half: a response body with keep-alives, ended by the service's stop.
pub struct EventStream {
    receiver: mpsc::Receiver<Bytes>,
    keep_alive: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Given back when the stream ends.
    pub(crate) place: Option<Streaming>,
}

impl EventStream {
    pub(crate) fn poll_next_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.stop.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(next) = self.receiver.poll_recv(cx) {
            self.keep_alive.as_mut().reset(Instant::now() + KEEP_ALIVE);
            return Poll::Ready(next);
        }
        if self.keep_alive.as_mut().poll(cx).is_ready() {
            self.keep_alive.as_mut().reset(Instant::now() + KEEP_ALIVE);
            // Registers the new deadline; a comment is no event.
            let _ = self.keep_alive.as_mut().poll(cx);
            return Poll::Ready(Some(Bytes::from_static(b": keep-alive\n\n")));
        }
        Poll::Pending
    }
}

/// A `text/event-stream` answer and where to send its events. `buffer` events may wait for a slow
/// client; `stop` ends the stream.
pub fn event_stream(buffer: usize, stop: &CancellationToken) -> (EventSender, Response) {
    let (sender, receiver) = mpsc::channel(buffer.max(1));
    let stream = EventStream {
        receiver,
        keep_alive: Box::pin(tokio::time::sleep(KEEP_ALIVE)),
        stop: Box::pin(stop.clone().cancelled_owned()),
        place: None,
    };
    let mut response = hyper::Response::new(Body::Events(Box::new(stream)));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold events back otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    (EventSender(sender), response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: EventFrame) -> String {
        String::from_utf8(frame.0.to_vec()).unwrap()
    }

    #[test]
    fn frames_follow_the_format_and_cannot_be_broken_out_of() {
        assert_eq!(
            text(EventFrame::new(Some("0.0:3"), Some("status"), "{\"a\":1}")),
            "id: 0.0:3\nevent: status\ndata: {\"a\":1}\n\n"
        );
        assert_eq!(
            text(EventFrame::new(Some("a\nevent: x"), None, "one\r\ntwo")),
            "id: a\ndata: one\ndata: \ndata: two\n\n"
        );
        assert_eq!(text(EventFrame::position("0.0:3")), "id: 0.0:3\n\n");
        assert_eq!(
            text(EventFrame::retry(Duration::from_secs(2))),
            "retry: 2000\n\n"
        );
    }
}
