use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::watchdog::{Ending, Watched};

/// Longest request line, and so longest URI: as Apache httpd and nginx allow.
pub(crate) const MAX_REQUEST_LINE: usize = 8 * 1024;

/// A socket that tells the watchdog when bytes come and when the peer stops taking them.
pub(crate) struct WatchedStream<S> {
    pub(crate) stream: S,
    pub(crate) watched: Arc<Watched>,
    /// Bytes of the request line that has not ended yet; 0 outside of one.
    line: usize,
    /// The peer has said that nothing more comes.
    pub(crate) ended: bool,
}

impl<S> WatchedStream<S> {
    pub(crate) fn new(stream: S, watched: Arc<Watched>) -> Self {
        Self {
            stream,
            watched,
            line: 0,
            ended: false,
        }
    }

    /// Looks over what came; `false` where its request line is too long.
    fn take_note(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            self.ended = true;
            return true;
        }
        if !self.watched.received() && self.line == 0 {
            return true;
        }
        match bytes.iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                let length = self.line + end;
                self.line = 0;
                length <= MAX_REQUEST_LINE
            }
            None => {
                self.line += bytes.len();
                self.line <= MAX_REQUEST_LINE
            }
        }
    }

    fn noted<T>(&self, poll: Poll<T>) -> Poll<T> {
        match &poll {
            Poll::Pending => self.watched.write_blocked(),
            Poll::Ready(_) => self.watched.write_done(),
        }
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if poll.is_ready() && !self.take_note(&buf.filled()[before..]) {
            // hyper would call it a header that is too large; the connection's task answers.
            buf.set_filled(before);
            self.watched.end(Ending::UriTooLong);
            return Poll::Pending;
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.noted(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.noted(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
