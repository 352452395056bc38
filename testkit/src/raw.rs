//! The protocol frame by frame, for tests that want to see exactly what a broker answers.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One connection; requests are numbered, answers come in order.
pub struct Connection {
    stream: TcpStream,
    next: i32,
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Panics
    /// When nobody listens there.
    pub async fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).expect("a socket option");
        Self { stream, next: 0 }
    }

    /// Sends a request and reads its answer.
    ///
    /// # Panics
    /// When the connection ends or the answer cannot be read.
    pub async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        match self.try_call(request, version).await {
            Ok(response) => response,
            Err(error) => panic!("no answer to API {}, version {version}: {error}", R::KEY),
        }
    }

    /// Like [`Connection::call`], for connections that may end.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn try_call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> io::Result<R::Response> {
        self.send(request, version).await?;
        self.receive::<R>(version).await
    }

    /// Sends a request without waiting for its answer.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send<R: Request>(&mut self, request: &R, version: i16) -> io::Result<()> {
        self.send_with(request, version, b"").await
    }

    /// Like [`Connection::send`], with bytes in the same frame behind the request.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send_with<R: Request>(
        &mut self,
        request: &R,
        version: i16,
        stray: &[u8],
    ) -> io::Result<()> {
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        self.next += 1;
        RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.next)
            .with_client_id(Some(StrBytes::from_static_str("testkit")))
            .encode(&mut frame, R::header_version(version))
            .map_err(io::Error::other)?;
        request
            .encode(&mut frame, version)
            .map_err(io::Error::other)?;
        frame.extend_from_slice(stray);
        let length = frame.len() as i32 - 4;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.send_bytes(&frame).await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads the next answer, which must be to this kind of request.
    ///
    /// # Errors
    /// When the connection ends or the answer cannot be read.
    pub async fn receive<R: Request>(&mut self, version: i16) -> io::Result<R::Response> {
        let length = self.stream.read_i32().await?;
        let mut frame = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.stream.read_exact(&mut frame).await?;
        let mut frame = bytes::Bytes::from(frame);
        ResponseHeader::decode(&mut frame, R::Response::header_version(version))
            .map_err(io::Error::other)?;
        let response = R::Response::decode(&mut frame, version).map_err(io::Error::other)?;
        if frame.has_remaining() {
            return Err(io::Error::other(format!(
                "{} bytes behind the answer",
                frame.remaining()
            )));
        }
        Ok(response)
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Waits until the broker ends the connection; answers until then are thrown away.
    pub async fn ended(&mut self) {
        let mut rest = [0; 1024];
        while matches!(self.stream.read(&mut rest).await, Ok(1..)) {}
    }
}
