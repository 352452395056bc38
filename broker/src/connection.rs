//! One client's connection: requests in, answers out, in order.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

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
                Ok(Next::Close) => return Ok(self.flush().await?),
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

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
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
                read = self.stream.read_buf(&mut self.input) => read?,
                () = self.draining.cancelled() => return Ok(None),
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
