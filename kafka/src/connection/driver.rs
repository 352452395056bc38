//! The task behind a connection: writes queued frames, several in one system call, and hands each
//! answer to the call that waits for it.
//!
//! One owner: the queue of frames and the queue of waiting calls sit behind one lock and are always
//! changed together, so that their order is the order on the wire. Kafka answers in that order.

use std::{
    collections::VecDeque,
    future::{Future as _, poll_fn},
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::task::AtomicWaker;
use kafka_protocol::messages::ApiKey;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite as _},
    sync::oneshot,
};

use super::{Answer, stream::Stream};
use crate::{client::ClientConfig, error::Error};

/// What the handle and the task share.
pub(crate) struct Shared {
    address: Arc<str>,
    queue: Mutex<Queue>,
    task: AtomicWaker,
}

#[derive(Default)]
struct Queue {
    next_correlation: i32,
    frames: VecDeque<Bytes>,
    waiting: VecDeque<Waiting>,
    closed: Option<Arc<str>>,
}

struct Waiting {
    correlation: i32,
    api: ApiKey,
    since: Instant,
    answer: oneshot::Sender<Result<Bytes, Error>>,
}

/// Why a request was not queued.
pub(crate) enum Refused {
    Closed(Arc<str>),
    Unencodable(String),
}

impl Refused {
    pub(super) fn into_error(self, address: &Arc<str>, api: ApiKey) -> Error {
        let address = address.clone();
        match self {
            Self::Closed(reason) => Error::Closed {
                address,
                api,
                elapsed: std::time::Duration::ZERO,
                reason,
            },
            Self::Unencodable(reason) => Error::Malformed {
                address,
                api,
                reason: reason.into(),
            },
        }
    }
}

impl Shared {
    pub(super) fn address(&self) -> &Arc<str> {
        &self.address
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.lock().closed.is_some()
    }

    /// Queues a frame, which is encoded outside the lock.
    pub(crate) fn send(
        &self,
        api: ApiKey,
        since: Instant,
        frame: impl FnOnce(i32) -> Result<Bytes, String>,
    ) -> Result<Answer, Refused> {
        let correlation = {
            let mut queue = self.queue.lock();
            if let Some(reason) = &queue.closed {
                return Err(Refused::Closed(reason.clone()));
            }
            let correlation = queue.next_correlation;
            // Correlation ids only have to differ among the calls in flight.
            queue.next_correlation = (correlation + 1) & i32::MAX;
            correlation
        };
        let frame = frame(correlation).map_err(Refused::Unencodable)?;
        let (answer, receiver) = oneshot::channel();
        {
            let mut queue = self.queue.lock();
            if let Some(reason) = &queue.closed {
                return Err(Refused::Closed(reason.clone()));
            }
            queue.frames.push_back(frame);
            queue.waiting.push_back(Waiting {
                correlation,
                api,
                since,
                answer,
            });
        }
        self.task.wake();
        Ok(receiver)
    }

    /// Marks the connection as ended and answers every waiting call. The first reason wins.
    pub(super) fn close(&self, reason: &str) {
        let (waiting, reason) = {
            let mut queue = self.queue.lock();
            if queue.closed.is_some() {
                return;
            }
            let reason: Arc<str> = reason.into();
            queue.closed = Some(reason.clone());
            queue.frames.clear();
            (std::mem::take(&mut queue.waiting), reason)
        };
        for call in waiting {
            // A call that was given up has no receiver any more.
            let _ = call.answer.send(Err(Error::Closed {
                address: self.address.clone(),
                api: call.api,
                elapsed: call.since.elapsed(),
                reason: reason.clone(),
            }));
        }
        self.task.wake();
    }

    /// Hands a frame to the call that waits for it.
    fn answer(&self, frame: Bytes) -> Result<(), String> {
        let correlation = frame
            .get(..4)
            .and_then(|id| id.try_into().ok())
            .map(i32::from_be_bytes)
            .ok_or("an answer is too short for its correlation id")?;
        let waiting = {
            let mut queue = self.queue.lock();
            // Almost always the front; requests encoded at the same time may have swapped places.
            let at = queue
                .waiting
                .iter()
                .position(|call| call.correlation == correlation);
            at.and_then(|at| queue.waiting.remove(at))
        };
        let call = waiting.ok_or_else(|| {
            format!("an answer has correlation id {correlation}, which nobody waits for")
        })?;
        let _ = call.answer.send(Ok(frame));
        Ok(())
    }
}

/// Starts the task of a connection.
pub(crate) fn start(address: Arc<str>, stream: Stream, config: &ClientConfig) -> Arc<Shared> {
    let shared = Arc::new(Shared {
        address,
        queue: Mutex::default(),
        task: AtomicWaker::new(),
    });
    let mut driver = Driver {
        shared: shared.clone(),
        stream,
        max_frame_bytes: config.max_frame_bytes,
        sending: VecDeque::new(),
        unflushed: false,
        received: BytesMut::new(),
        unproven: config.security.sasl.is_none(),
    };
    tokio::spawn(async move {
        let reason = poll_fn(|cx| driver.poll(cx)).await;
        tracing::debug!(broker = %driver.shared.address, %reason, "connection closed");
        driver.shared.close(&reason);
    });
    shared
}

struct Driver {
    shared: Arc<Shared>,
    stream: Stream,
    max_frame_bytes: usize,
    sending: VecDeque<Bytes>,
    unflushed: bool,
    received: BytesMut,
    /// Neither a login nor an answer yet.
    unproven: bool,
}

/// How many frames go into one system call.
const MAX_SLICES: usize = 16;

/// Room for reading when the size of the next frame is not known.
const READ_BYTES: usize = 16 * 1024;

/// Room made at once on the word of a frame's size; a larger frame gets more as it arrives.
const AT_ONCE: usize = 1024 * 1024;

impl Driver {
    /// Ready with the reason when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        self.shared.task.register(cx.waker());
        {
            let mut queue = self.shared.queue.lock();
            if let Some(reason) = &queue.closed {
                return Poll::Ready(reason.to_string());
            }
            self.sending.append(&mut queue.frames);
        }
        if let Poll::Ready(Err(error)) = self.poll_write(cx) {
            return Poll::Ready(format!("writing failed: {error}"));
        }
        self.poll_read(cx)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.sending.is_empty() {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = self.sending.len().min(MAX_SLICES);
            for (slice, frame) in slices.iter_mut().zip(&self.sending) {
                *slice = IoSlice::new(frame);
            }
            let stream = Pin::new(&mut self.stream);
            let mut written = match stream.poll_write_vectored(cx, &slices[..count]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            self.unflushed = true;
            while written > 0 {
                let front = &mut self.sending[0];
                let part = written.min(front.len());
                front.advance(part);
                written -= part;
                if front.is_empty() {
                    self.sending.pop_front();
                }
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        loop {
            if let Err(reason) = self.answer_complete_frames() {
                return Poll::Ready(reason);
            }
            let reading = pin!(self.stream.read_buf(&mut self.received));
            match reading.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(self.hung_up()),
                Poll::Ready(Ok(_)) => {}
                // TLS: without a word of farewell.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(self.hung_up());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(format!("reading failed: {error}")),
            }
        }
    }

    fn hung_up(&self) -> String {
        let mut reason = "the broker closed it".to_owned();
        if self.unproven && !self.shared.queue.lock().waiting.is_empty() {
            reason += " before its first answer, as a listener with SASL does to a client without";
        }
        reason
    }

    /// Answers what has arrived whole and makes room for what comes next.
    fn answer_complete_frames(&mut self) -> Result<(), String> {
        loop {
            let Some(prefix) = self.received.get(..4) else {
                self.received.reserve(READ_BYTES);
                return Ok(());
            };
            let size = i32::from_be_bytes(prefix.try_into().expect("four bytes"));
            let size =
                usize::try_from(size).map_err(|_| format!("an answer has the size {size}"))?;
            if size > self.max_frame_bytes {
                return Err(format!(
                    "an answer has {size} bytes, more than max_frame_bytes ({})",
                    self.max_frame_bytes
                ));
            }
            if self.received.len() < size + 4 {
                let missing = size + 4 - self.received.len();
                let room = self.received.len().max(AT_ONCE);
                self.received.reserve(missing.min(room));
                return Ok(());
            }
            let mut frame = self.received.split_to(size + 4);
            frame.advance(4);
            self.shared.answer(frame.freeze())?;
            self.unproven = false;
        }
    }
}
