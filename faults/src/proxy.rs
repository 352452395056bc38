//! A TCP proxy before a server: the network between it and its clients, made bad on request.
//!
//! Clients of a Kafka have to be told the proxy's address by the broker itself (`advertised`), or they would
//! find the way around it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Chunks under way in one direction of a connection: what a slow link holds.
const UNDER_WAY: usize = 1_024;

/// Bytes read at a time.
const CHUNK: usize = 64 * 1024;

/// How the link is at present.
#[derive(Debug, Clone, Copy, Default)]
struct Link {
    target: Option<SocketAddr>,
    latency: Duration,
    silent: bool,
    refusing: bool,
    /// Connections that were there at an earlier cut are gone.
    cuts: u64,
}

/// A running proxy. Dropping it ends its connections.
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of its own. Whoever connects is turned away until there is a target.
    ///
    /// # Panics
    /// When it cannot listen.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let link = watch::Sender::new(Link::default());
        let accepting = tokio::spawn(accept(listener, link.subscribe()));
        Self {
            address,
            link,
            accepting,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where connections lead from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        self.link.send_modify(|link| link.target = Some(target));
    }

    /// Everything takes this much longer, each way.
    pub fn slow(&self, latency: Duration) {
        self.link.send_modify(|link| link.latency = latency);
    }

    /// Nothing gets through, and nothing is closed. What is sent meanwhile, and an end of a
    /// connection too, arrives when the link is sound again, as TCP's repetition would bring it.
    pub fn silence(&self, silent: bool) {
        self.link.send_modify(|link| link.silent = silent);
    }

    /// Ends every connection and turns away new ones.
    pub fn refuse(&self, refusing: bool) {
        self.link.send_modify(|link| {
            link.refusing = refusing;
            link.cuts += 1;
        });
    }

    /// Ends every connection, wherever in a message it is.
    pub fn cut(&self) {
        self.link.send_modify(|link| link.cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, link: watch::Receiver<Link>) {
    loop {
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let now = *link.borrow();
        if let Some(target) = now.target.filter(|_| !now.refusing) {
            tokio::spawn(carry(client, target, link.clone()));
        }
    }
}

/// One connection, until both sides have ended it or it is cut.
async fn carry(client: TcpStream, target: SocketAddr, link: watch::Receiver<Link>) {
    let mut ending = link.clone();
    let cuts = link.borrow().cuts;
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let both = async {
        tokio::join!(
            one_way(from_client, to_server, link.clone()),
            one_way(from_server, to_client, link),
        );
    };
    tokio::select! {
        () = both => {}
        // Also when the proxy is dropped.
        _ = ending.wait_for(|link| link.cuts != cuts) => {}
    }
}

async fn one_way(from: OwnedReadHalf, to: OwnedWriteHalf, link: watch::Receiver<Link>) {
    let (sender, under_way) = mpsc::channel(UNDER_WAY);
    tokio::join!(read(from, sender), write(under_way, to, link));
}

async fn read(mut from: OwnedReadHalf, under_way: mpsc::Sender<(Instant, Bytes)>) {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        if !matches!(from.read_buf(&mut buffer).await, Ok(1..)) {
            return;
        }
        let chunk = (Instant::now(), buffer.split().freeze());
        if under_way.send(chunk).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut under_way: mpsc::Receiver<(Instant, Bytes)>,
    mut to: OwnedWriteHalf,
    mut link: watch::Receiver<Link>,
) {
    while let Some((came, bytes)) = under_way.recv().await {
        let latency = link.borrow().latency;
        sleep_until(came + latency).await;
        sound(&mut link).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    sound(&mut link).await;
    let _ = to.shutdown().await;
}

/// Waits until the link is not silent.
async fn sound(link: &mut watch::Receiver<Link>) {
    let _ = link.wait_for(|link| !link.silent).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection through a proxy to a server that repeats what it hears.
    async fn connected() -> (Proxy, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::bind().await;
        proxy.lead_to(server.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = server.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(said_back(&mut client).await, b"word");
        (proxy, client)
    }

    async fn said_back(client: &mut TcpStream) -> Vec<u8> {
        client.write_all(b"word").await.unwrap();
        let mut heard = vec![0; 4];
        client.read_exact(&mut heard).await.unwrap();
        heard
    }

    #[tokio::test]
    async fn a_slow_link_delays_each_way() {
        let (proxy, mut client) = connected().await;
        proxy.slow(Duration::from_millis(50));
        let begin = Instant::now();
        said_back(&mut client).await;
        assert!(begin.elapsed() >= Duration::from_millis(100));
    }

    #[tokio::test]
    async fn a_silent_link_brings_everything_later() {
        let (proxy, mut client) = connected().await;
        proxy.silence(true);
        let wait = Duration::from_millis(100);
        let answer = tokio::time::timeout(wait, said_back(&mut client)).await;
        assert!(answer.is_err(), "an answer through a silent link");
        proxy.silence(false);
        let mut heard = [0; 4];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"word");
    }

    #[tokio::test]
    async fn a_cut_ends_what_is_there_and_refusing_what_comes() {
        let (proxy, mut client) = connected().await;
        proxy.cut();
        assert!(!matches!(client.read(&mut [0]).await, Ok(1..)));
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        said_back(&mut client).await;
        proxy.refuse(true);
        assert!(!matches!(client.read(&mut [0]).await, Ok(1..)));
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(!matches!(client.read(&mut [0]).await, Ok(1..)));
        proxy.refuse(false);
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        said_back(&mut client).await;
    }
}
