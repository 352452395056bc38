//! The socket, with TLS or without.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::stream::{FuturesUnordered, StreamExt as _};
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

/// How long an address of a name has before the next one is tried beside it (RFC 8305, "Connection Attempt Delay").
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to `host:port`, to whichever address of the name answers first. The caller bounds the time.
pub(super) async fn connect(address: &str) -> io::Result<TcpStream> {
    let addresses: Vec<_> = tokio::net::lookup_host(address).await?.collect();
    let socket = connect_any(addresses).await?;
    // Requests are written whole; waiting for more to send would only delay them.
    socket.set_nodelay(true)?;
    socket2::SockRef::from(&socket)
        .set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(KEEP_ALIVE))?;
    Ok(socket)
}

/// Tries the addresses in their order: the next one when an attempt has failed, or when it takes longer than its head
/// start. One that swallows packets so costs a moment, not all of the caller's patience.
async fn connect_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    attempts.extend(addresses.next().map(TcpStream::connect));
    while !attempts.is_empty() {
        let next = tokio::time::timeout(HEAD_START, attempts.next());
        match next.await {
            Ok(Some(Ok(socket))) => return Ok(socket),
            Ok(Some(Err(error))) => failure = error,
            Ok(None) | Err(_) => {}
        }
        attempts.extend(addresses.next().map(TcpStream::connect));
    }
    Err(failure)
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
    use std::time::Instant;

    use super::*;

    /// A port of this machine that swallows packets: its queue of connections is full.
    struct Swallowing {
        address: SocketAddr,
        _listener: socket2::Socket,
        _queued: Vec<TcpStream>,
    }

    impl Swallowing {
        async fn start() -> Self {
            let kind = socket2::Type::STREAM;
            let listener = socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
            let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
            listener.bind(&any.into()).unwrap();
            listener.listen(0).unwrap();
            let address = listener.local_addr().unwrap().as_socket().unwrap();
            let mut queued = Vec::new();
            // Until one is not answered any more.
            while let Ok(connected) =
                tokio::time::timeout(HEAD_START, TcpStream::connect(address)).await
            {
                queued.push(connected.unwrap());
            }
            Self {
                address,
                _listener: listener,
                _queued: queued,
            }
        }
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_does_not_hold_up_the_next() {
        let swallowing = Swallowing::start().await;
        let sound = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sound = sound.local_addr().map(|address| (address, sound)).unwrap();
        let begun = Instant::now();
        let addresses = vec![swallowing.address, swallowing.address, sound.0];
        let socket = connect_any(addresses).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), sound.0);
        assert!(begun.elapsed() >= 2 * HEAD_START, "{:?}", begun.elapsed());
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed_at_once_and_the_last_failure_told() {
        // Nothing listens there, and no other test is given it.
        let closed: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let sound = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = sound.local_addr().unwrap();
        assert!(connect_any(vec![closed, open]).await.is_ok());
        let error = connect_any(vec![closed, closed]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = connect_any(Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

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
