//! Which address of PostgreSQL's host name to use. sqlx tries them in turn, each for as long as the operating system
//! does (two minutes): with a first one that swallows packets no connection would ever be made.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an address has before the next one is tried beside it (RFC 8305, "Connection Attempt Delay").
const HEAD_START: Duration = Duration::from_millis(250);

/// Longest search for an address that answers.
const LIMIT: Duration = Duration::from_secs(3);

/// PostgreSQL's port where the URL has none.
const PORT: u16 = 5432;

/// A URL around its host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostName {
    before: String,
    host: String,
    port: u16,
    after: String,
}

impl HostName {
    /// `None`: the URL names an address or a socket already, or its certificate is checked against the name, which an
    /// address in its place would not match (`sslmode=verify-full`).
    pub(super) fn of(url: &str) -> Option<Self> {
        let authority = url.find("://")? + "://".len();
        let rest = &url[authority..];
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (_, query) = url.split_once('?').unwrap_or_default();
        let given_elsewhere = |parameter: &str| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            matches!(name, "host" | "hostaddr" | "port")
                || (matches!(name, "sslmode" | "ssl-mode") && value == "verify-full")
        };
        if query.split('&').any(given_elsewhere) {
            return None;
        }
        let host = rest[..end].rfind('@').map_or(0, |at| at + 1);
        let (name, port) = match rest[host..end].split_once(':') {
            None => (&rest[host..end], PORT),
            Some((name, port)) => (name, port.parse().ok()?),
        };
        if name.is_empty()
            || name.starts_with('[')
            || name.contains('%')
            || name.parse::<IpAddr>().is_ok()
        {
            return None;
        }
        Some(Self {
            before: url[..authority + host].to_owned(),
            host: name.to_owned(),
            port,
            after: url[authority + end..].to_owned(),
        })
    }

    /// The URL with the address that answers first; `None` where the name has just one, or none answers.
    pub(super) async fn answering(&self) -> Option<String> {
        let search = async {
            let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
            let addresses: Vec<_> = found.ok()?.collect();
            if addresses.len() < 2 {
                return None;
            }
            first_answering(addresses).await.ok()
        };
        let address = timeout(LIMIT, search).await.ok().flatten()?;
        Some(self.with(address))
    }

    /// The URL with the name, as it was given.
    pub(super) fn url(&self) -> String {
        let Self {
            before,
            host,
            port,
            after,
        } = self;
        format!("{before}{host}:{port}{after}")
    }

    fn with(&self, address: SocketAddr) -> String {
        format!("{}{address}{}", self.before, self.after)
    }
}

/// Tries the addresses in their order: the next one when an attempt has failed, or when it takes longer than its head
/// start.
async fn first_answering(addresses: Vec<SocketAddr>) -> io::Result<SocketAddr> {
    let attempt = |address| async move { TcpStream::connect(address).await.map(|_| address) };
    let mut addresses = addresses.into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    attempts.extend(addresses.next().map(attempt));
    while !attempts.is_empty() {
        match timeout(HEAD_START, attempts.next()).await {
            Ok(Some(Ok(address))) => return Ok(address),
            Ok(Some(Err(error))) => failure = error,
            Ok(None) | Err(_) => {}
        }
        attempts.extend(addresses.next().map(attempt));
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_replaced_by_its_address_and_nothing_else() {
        let address: SocketAddr = "10.0.0.7:5433".parse().unwrap();
        for (url, expected) in [
            (
                "postgres://me:p%40ss@db:5433/carts",
                "postgres://me:p%40ss@10.0.0.7:5433/carts",
            ),
            (
                "postgresql://db.example/x?sslmode=require",
                "postgresql://10.0.0.7:5433/x?sslmode=require",
            ),
        ] {
            assert_eq!(HostName::of(url).unwrap().with(address), expected);
        }
        assert_eq!(HostName::of("postgres://db/x").unwrap().port, 5432);
        let v6: SocketAddr = "[fd00::7]:5432".parse().unwrap();
        let url = HostName::of("postgres://u@db/x").unwrap().with(v6);
        assert_eq!(url, "postgres://u@[fd00::7]:5432/x");
        for url in [
            "postgres://127.0.0.1/x",
            "postgres://[::1]:5432/x",
            "postgres://%2Frun%2Fpostgresql/x",
            "postgres:///x?host=/run/postgresql",
            "postgres://db/x?sslmode=verify-full",
            "sqlite:data/x.db",
        ] {
            assert_eq!(HostName::of(url), None, "{url}");
        }
    }

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
        let found = timeout(LIMIT, first_answering(vec![swallowing, address]));
        assert_eq!(found.await.unwrap().unwrap(), address);
    }
}
