//! producer-svc as a process, to be knocked at over HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use faults::process::{PATIENCE, Process};
use serde_json::Value;
use tempfile::TempDir;
use testkit::http::{self, Answer};
use testkit::{eventually, unique};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One KiB and one MiB in bytes.
pub const KIB: u64 = 1 << 10;
pub const MIB: u64 = 1 << 20;

/// Longest wait for what the service bounds by seconds.
pub const SOON: Duration = Duration::from_secs(30);

pub const ORDER: &str = r#"{"product":"Laptop","quantity":1}"#;

pub struct Door {
    pub process: Process,
    pub address: SocketAddr,
    pub status_topic: String,
    pub folder: TempDir,
}

impl Door {
    /// Opens it with further flags and waits until it is ready.
    pub async fn open(bootstrap: &str, flags: &[(&str, &str)]) -> Self {
        let folder = TempDir::with_prefix("door-").expect("a folder");
        let status_topic = unique("order_status_topic");
        let database = format!("sqlite:{}", folder.path().join("view.db").display());
        let own = [
            ("kafka-bootstrap-servers", bootstrap.to_owned()),
            ("kafka-group-id", unique("order-view")),
            ("order-topic", unique("order_topic")),
            ("orders-topic", unique("orders")),
            ("order-status-topic", status_topic.clone()),
            ("http-addr", "127.0.0.1:0".to_owned()),
            ("database-url", database),
            // One group fewer; its name would be that of every other test's.
            ("analytics", "false".to_owned()),
        ];
        let mut arguments: Vec<String> = own
            .iter()
            .map(|(name, value)| format!("--{name}={value}"))
            .collect();
        arguments.extend(
            flags
                .iter()
                .map(|(name, value)| format!("--{name}={value}")),
        );
        let mut process = Process::start("producer-svc", "door", folder.path(), &arguments);
        let address = process.address().await;
        let door = Self {
            process,
            address,
            status_topic,
            folder,
        };
        eventually(PATIENCE, || async {
            let answer = http::get(address, "/readyz?strict").await;
            (answer.status == 200).then_some(())
        })
        .await;
        door
    }

    /// An order that somebody places who has nothing to do with the abuse.
    pub async fn order(&self) -> Answer {
        http::post(self.address, "/api/orders", &[], ORDER).await
    }

    /// Somebody who has nothing to do with the abuse is served: at the first attempt, or at one
    /// that `Retry-After` asked for.
    pub async fn serves(&self) {
        eventually(SOON, || async {
            let answer = self.order().await;
            match answer.status {
                200 => Some(()),
                503 => {
                    assert!(answer.header("retry-after").is_some(), "{answer:?}");
                    None
                }
                _ => panic!("{answer:?}"),
            }
        })
        .await;
    }

    /// Sends bytes as they are and reads until the server closes.
    pub async fn exchange(&self, bytes: &[u8]) -> String {
        self.exchange_pieces([bytes.to_vec()]).await
    }

    /// Sends piece after piece until the server takes no more, and reads until it closes.
    pub async fn exchange_pieces(&self, pieces: impl IntoIterator<Item = Vec<u8>>) -> String {
        let exchange = async {
            let stream = TcpStream::connect(self.address).await.expect("it accepts");
            let (mut from, mut to) = stream.into_split();
            let sending = async {
                for piece in pieces {
                    if to.write_all(&piece).await.is_err() {
                        break;
                    }
                }
                to
            };
            let reading = async {
                let mut answer = Vec::new();
                let mut chunk = [0; 4 * 1024];
                // A reset ends it as well.
                while let Ok(read @ 1..) = from.read(&mut chunk).await {
                    answer.extend_from_slice(&chunk[..read]);
                }
                String::from_utf8(answer).expect("an answer in UTF-8")
            };
            tokio::join!(sending, reading).1
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("the server closes")
    }

    /// The program that opens many connections, once it holds them all.
    pub async fn flood(&self, name: &str, count: usize, kind: &str) -> Process {
        let arguments = [self.address.to_string(), count.to_string(), kind.to_owned()];
        let mut flood = Process::start("flood", name, self.folder.path(), &arguments);
        let holding = format!("holding {count}\n");
        flood
            .eventually(PATIENCE, |output| output.contains(&holding).then_some(()))
            .await;
        flood
    }

    /// Processor time it has used so far, in clock ticks (a hundredth of a second on Linux).
    pub fn processor_ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = std::fs::read_to_string(path).expect("a running process");
        // Behind the name in parentheses: utime and stime are the 14th and 15th field of all.
        let (_, fields) = stat.rsplit_once(") ").expect("a name");
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        ticks(11) + ticks(12)
    }
}

pub fn status(answer: &str) -> u16 {
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or_else(|| panic!("no status line in {answer:?}"))
}

pub fn json(answer: &Answer) -> Value {
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}
