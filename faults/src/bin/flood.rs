//! Opens many HTTP connections to a service and holds them, in a process of its own: client and
//! server together would need twice the file descriptors.
//!
//! `flood ADDRESS COUNT KIND` says `holding COUNT` once all are open and have sent their part, and
//! `refused COUNT` of those that were turned away. It holds them until it is killed, or for ten
//! minutes.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connections that are being opened at a time: fewer than a listener's queue holds.
const OPENING: usize = 64;

const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// What each connection sends before it falls silent.
fn opening(kind: &str) -> Vec<u8> {
    let post = "POST /api/orders HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    match kind {
        "silent" => Vec::new(),
        "idle" => b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        "events" => b"GET /api/orders/events HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        "head" => format!("GET /livez HTTP/1.1\r\nx: {}", "y".repeat(15_000)).into_bytes(),
        "body" => format!("{post}content-length: 65000\r\n\r\n{}", "{".repeat(60_000)).into_bytes(),
        _ => panic!("KIND is silent, idle, events, head or body, not {kind:?}"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, count, kind] = &arguments[..] else {
        panic!("flood ADDRESS COUNT KIND");
    };
    let address: SocketAddr = address.parse().expect("an address");
    let count: usize = count.parse().expect("a number of connections");
    raise_descriptors();
    let (opening, answered) = (opening(kind), matches!(&**kind, "idle" | "events"));
    let connections: Vec<Option<TcpStream>> = futures::stream::iter(0..count)
        .map(|_| open(address, &opening, answered))
        .buffer_unordered(OPENING)
        .collect()
        .await;
    let holding = connections.iter().flatten().count();
    println!("refused {}", count - holding);
    println!("holding {count}");
    tokio::time::sleep(Duration::from_secs(600)).await;
}

fn raise_descriptors() {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limits.maximum,
        ..limits
    };
    setrlimit(Resource::Nofile, raised).expect("the hard limit is allowed");
}

/// `None` where the server turned it away.
async fn open(address: SocketAddr, opening: &[u8], answered: bool) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(opening).await.ok()?;
    if answered {
        let mut status = [0; 15];
        let read = stream.read_exact(&mut status);
        tokio::time::timeout(ANSWER_PATIENCE, read)
            .await
            .ok()?
            .ok()?;
        if &status != b"HTTP/1.1 200 OK" {
            return None;
        }
    }
    Some(stream)
}
