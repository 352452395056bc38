//! One client's connection: requests in, answers out, in order.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use kafka_protocol::messages::ApiKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::api::{self, ConnectionInfo, Next, RequestError};
use crate::state::State;

/// Requests are read ahead of the one being served up to this many bytes.
const READ_AHEAD: usize = 64 * 1024;
/// Room made for a frame of which nothing is known; idle connections cost this much.
const LITTLE: usize = 4096;
/// A larger buffer than this is given back once it is empty.
const KEEP: usize = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("a frame claims {length} bytes; the limit is {limit}")]
    FrameLength { length: i64, limit: usize },
    #[error("the connection ended within a frame")]
    Truncated,
    #[error("the client has read nothing of its answers for {0:?} (connections.max.idle.ms)")]
    Unread(Duration),
    #[error(transparent)]
    Request(#[from] RequestError),
}

pub(crate) struct Connection {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    state: Arc<State>,
    info: ConnectionInfo,
    /// Cancelled when the broker wants to stop: what is asked is answered, no more is taken.
    draining: CancellationToken,
    /// Room made for the next frame: what the last one took, within limits.
    expected: usize,
    ended: bool,
    /// When to look whether the client is idle. Set again when it has passed, not with each request.
    idle: Pin<Box<Sleep>>,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        state: Arc<State>,
        draining: CancellationToken,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let info = ConnectionInfo {
            peer: stream.peer_addr()?,
            local: stream.local_addr()?,
            gone: CancellationToken::new(),
        };
        let idle = Box::pin(tokio::time::sleep(state.config.connections_max_idle));
        Ok(Self {
            stream,
            idle,
            input: BytesMut::new(),
            output: BytesMut::new(),
            state,
            info,
            draining,
            expected: LITTLE,
            ended: false,
        })
    }

    /// Serves until the client leaves. Cancelling drops the request being served.
    pub(crate) async fn run(mut self) -> Result<(), ConnectionError> {
        loop {
            let Some(length) = self.frame().await? else {
                return Ok(());
            };
            self.input.advance(4);
            let frame = self.input.split_to(length).freeze();
            self.expected = length.clamp(LITTLE, READ_AHEAD);
            if self.input.is_empty() && length > KEEP {
                self.input = BytesMut::new();
            }
            let next = {
                let serving = api::answer(&self.state, &self.info, frame, &mut self.output);
                tokio::pin!(serving);
                loop {
                    // Reading goes on meanwhile, so that a client that leaves ends a long poll.
                    let listen = !self.ended && self.input.len() < READ_AHEAD;
                    if listen {
                        self.input.reserve(LITTLE);
                    }
                    tokio::select! {
                        biased;
                        next = &mut serving => break next,
                        read = self.stream.read_buf(&mut self.input), if listen => {
                            // A broken connection shows again when the answer is written.
                            if !matches!(read, Ok(1..)) {
                                self.ended = true;
                                self.info.gone.cancel();
                            }
                        }
                        () = self.draining.cancelled(), if !self.info.gone.is_cancelled() => {
                            self.info.gone.cancel();
                        }
                    }
                }
            };
            match next {
                Ok(Next::Continue) => {}
                Ok(Next::FallSilent) => return self.ignore().await,
                // Earlier answers still go out.
                Ok(Next::Close) => return self.flush().await,
                Err(error) => {
                    self.flush().await?;
                    return Err(error.into());
                }
            }
            // Answers to produce requests that are here already leave together.
            if !self.output.is_empty() && !self.can_hold_back() {
                self.flush().await?;
            }
        }
    }

    /// Writes the answers. A client that does not read them is idle, too: nobody else gives its place back.
    async fn flush(&mut self) -> Result<(), ConnectionError> {
        let max_idle = self.state.config.connections_max_idle;
        let (mut active, mut written) = (Instant::now(), 0);
        while written < self.output.len() {
            tokio::select! {
                biased;
                wrote = self.stream.write(&self.output[written..]) => match wrote? {
                    0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                    wrote => {
                        written += wrote;
                        active = Instant::now();
                    }
                },
                () = &mut self.idle => {
                    let due = active + max_idle;
                    if Instant::now() >= due {
                        return Err(ConnectionError::Unread(max_idle));
                    }
                    self.idle.as_mut().reset(due);
                }
            }
        }
        self.output.clear();
        if self.output.capacity() > KEEP {
            self.output = BytesMut::new();
        }
        Ok(())
    }

    /// Waits for a whole frame in the input and says how long it is; `None` at the end.
    async fn frame(&mut self) -> Result<Option<usize>, ConnectionError> {
        let mut active = Instant::now();
        loop {
            if let Some(length) = self.frame_length()? {
                if self.input.len() >= 4 + length {
                    return Ok(Some(length));
                }
                // Room for what is claimed is made as it arrives, at most twice what has.
                let missing = 4 + length - self.input.len();
                self.input
                    .reserve(missing.min(self.input.len().max(READ_AHEAD)));
            } else {
                self.input.reserve(self.expected);
            }
            if self.ended {
                return self.end();
            }
            let read = tokio::select! {
                // A client that never pauses must not keep the broker from stopping; and where the process stood still for
                // so long that both are due, what is asked counts.
                biased;
                () = self.draining.cancelled() => return Ok(None),
                read = self.stream.read_buf(&mut self.input) => read?,
                () = &mut self.idle => {
                    let due = active + self.state.config.connections_max_idle;
                    if Instant::now() >= due {
                        tracing::debug!(peer = %self.info.peer, "idle connection closed");
                        return Ok(None);
                    }
                    self.idle.as_mut().reset(due);
                    continue;
                }
            };
            active = Instant::now();
            if read == 0 {
                return self.end();
            }
        }
    }

    fn end(&self) -> Result<Option<usize>, ConnectionError> {
        if self.input.is_empty() {
            Ok(None)
        } else {
            Err(ConnectionError::Truncated)
        }
    }

    fn frame_length(&self) -> Result<Option<usize>, ConnectionError> {
        let Some(mut prefix) = self.input.get(..4) else {
            return Ok(None);
        };
        let length = prefix.get_i32();
        let limit = self.state.config.max_frame_bytes;
        match usize::try_from(length) {
            Ok(length) if length <= limit => Ok(Some(length)),
            _ => Err(ConnectionError::FrameLength {
                length: length.into(),
                limit,
            }),
        }
    }

    /// Whether the next answer follows at once.
    fn can_hold_back(&self) -> bool {
        let whole =
            matches!(self.frame_length(), Ok(Some(length)) if self.input.len() >= 4 + length);
        let produce = self.input.get(4..6) == Some(&(ApiKey::Produce as i16).to_be_bytes());
        whole && produce && self.output.len() < READ_AHEAD && !self.state.faults.armed()
    }

    /// Reads and forgets until the client gives up.
    async fn ignore(mut self) -> Result<(), ConnectionError> {
        loop {
            self.input.clear();
            self.input.reserve(LITTLE);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// ApiVersions, version 0, without a client id.
    const ASK: &[u8] = b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\xff\xff";

    /// The clock moves for the test alone; sockets are of the operating system.
    #[tokio::test(start_paused = true)]
    async fn what_is_asked_when_the_idle_time_is_over_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::in_folder(folder.path(), &CancellationToken::new());
        let max_idle = state.config.connections_max_idle;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut clients = Vec::new();
        for _ in 0..32 {
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let connection = Connection::new(stream, state.clone(), CancellationToken::new());
            tokio::spawn(connection.unwrap().run());
            clients.push(client);
        }
        tokio::task::yield_now().await;
        // The process stands still: both come before it looks again.
        for client in &mut clients {
            client.write_all(ASK).unwrap();
        }
        tokio::time::advance(max_idle).await;
        for client in &mut clients {
            client.set_nonblocking(true).unwrap();
            let mut answer = [0; 8];
            let read = loop {
                match client.read(&mut answer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        tokio::task::yield_now().await;
                    }
                    read => break read.unwrap(),
                }
            };
            assert_ne!(read, 0, "closed as idle");
        }
    }
}
