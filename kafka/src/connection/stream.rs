//! The socket, with TLS or without.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::security::{Refusal, Tls};

/// An open byte stream to a broker.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// To a broker that a fuzz target plays.
    #[cfg(any(test, fuzzing))]
    Memory(tokio::io::DuplexStream),
}

/// Notices a peer that vanished while nothing is in flight; calls in flight have their own timeout.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Connects to `host:port`, trying each address that the name resolves to.
pub(super) async fn connect(address: &str) -> io::Result<TcpStream> {
    let socket = TcpStream::connect(address).await?;
    // Requests are written whole; waiting for more to send would only delay them.
    socket.set_nodelay(true)?;
    socket2::SockRef::from(&socket)
        .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEP_ALIVE))?;
    Ok(socket)
}

/// The TLS handshake with `host`, whose certificate must be for it.
pub(super) async fn secure(socket: TcpStream, host: &str, tls: &Tls) -> io::Result<Stream> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        let problem = format!("{host:?} is neither a host name nor an address");
        io::Error::new(io::ErrorKind::InvalidInput, problem)
    })?;
    let stream = TlsConnector::from(Arc::clone(tls.config()))
        .connect(name, socket)
        .await?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// What TLS makes of a broken connection, if it was not merely lost.
pub(super) fn refusal(error: &io::Error, address: &str, tls: &Tls) -> Option<Refusal> {
    let problem = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let (host, shows) = (host(address), tls.shows_certificate());
    Some(Refusal::from_tls(problem, host, shows))
}

/// `host` of `host:port`, without the brackets of an IPv6 address.
pub(super) fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(any(test, fuzzing))]
            Self::Memory(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(any(test, fuzzing))]
            Self::Memory(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            #[cfg(any(test, fuzzing))]
            Self::Memory(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(any(test, fuzzing))]
            Self::Memory(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(any(test, fuzzing))]
            Self::Memory(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::host;

    #[test]
    fn the_host_of_an_address() {
        for (address, expected) in [
            ("kafka:9092", "kafka"),
            ("[::1]:9092", "::1"),
            ("10.0.0.1:1", "10.0.0.1"),
        ] {
            assert_eq!(host(address), expected);
        }
    }
}
