//! Which address of a server's host name is used: the operating system tries them in turn, each for two minutes. With
//! a first one that swallows packets no connection would ever be made.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// How long an address has before the next one is tried beside it (RFC 8305, "Connection Attempt Delay").
const HEAD_START: Duration = Duration::from_millis(250);

/// Longest search for an address that answers.
const LIMIT: Duration = Duration::from_secs(3);

/// How long a connection is idle before the operating system asks whether the server is still there. Shorter than the
/// four minutes after which load balancers and NAT gateways forget a connection.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Connects to a host name or an address. The search among several addresses of a name takes three seconds at most;
/// with a single one the caller limits the time.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = match host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, port)).await?,
        Err(_) => connect_by_name(host, port).await?,
    };
    // Messages are written whole; waiting for more to send would only delay them.
    stream.set_nodelay(true)?;
    let keep_alive = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
    Ok(stream)
}

async fn connect_by_name(name: &str, port: u16) -> io::Result<TcpStream> {
    let end = Instant::now() + LIMIT;
    let found = timeout_at(end, tokio::net::lookup_host((name, port))).await;
    let found = found.map_err(|_| late("the name was not looked up"))?;
    let addresses: Vec<_> = found?.collect();
    if let [address] = addresses[..] {
        return TcpStream::connect(address).await;
    }
    let first = timeout_at(end, first_answering(addresses)).await;
    first.map_err(|_| late("none of its addresses answered"))?
}

fn late(what: &str) -> io::Error {
    let text = format!("{what} within {} s", LIMIT.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// Tries the addresses in their order: the next one when an attempt has failed, or when it takes longer than its head
/// start.
async fn first_answering(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    attempts.extend(addresses.next().map(TcpStream::connect));
    while !attempts.is_empty() {
        match timeout(HEAD_START, attempts.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => failure = error,
            Ok(None) | Err(_) => {}
        }
        attempts.extend(addresses.next().map(TcpStream::connect));
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port of this machine that swallows packets: its queue of connections is full.
    async fn swallowing() -> (SocketAddr, socket2::Socket, Vec<TcpStream>) {
        let kind = socket2::Type::STREAM;
        let listener = socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        while let Ok(connected) = timeout(HEAD_START, TcpStream::connect(address)).await {
            queued.push(connected.unwrap());
        }
        (address, listener, queued)
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_is_passed() {
        let (swallowing, _listener, _queued) = swallowing().await;
        let sound = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = sound.local_addr().unwrap();
        let stream = timeout(LIMIT, first_answering(vec![swallowing, address])).await;
        assert_eq!(stream.unwrap().unwrap().peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_passed() {
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing = closed.local_addr().unwrap();
        drop(closed);
        let sound = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = sound.local_addr().unwrap();
        let stream = first_answering(vec![refusing, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let error = first_answering(vec![refusing]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = first_answering(Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
