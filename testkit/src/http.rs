//! A plain HTTP/1.1 client for tests: one request a connection, and event streams.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest wait for an answer or an event; a test that runs into it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// GET.
///
/// # Panics
/// When the server cannot be reached or does not answer in HTTP.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    request(address, "GET", path, &[], "").await
}

/// POST of JSON, with further headers.
///
/// # Panics
/// When the server cannot be reached or does not answer in HTTP.
pub async fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], json: &str) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    request(address, "POST", path, &all, json).await
}

/// Any request. `Host` and `Content-Length` are added. Of a stream of events the head alone is read.
///
/// # Panics
/// When the server cannot be reached or does not answer in HTTP.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    request_within(PATIENCE, address, method, path, headers, body).await
}

/// The same with a patience of one's own.
///
/// # Panics
/// Likewise.
pub async fn request_within(
    patience: Duration,
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let exchange = async {
        let (mut stream, status, headers) = open(address, method, path, headers, body).await;
        let find = |name: &str| {
            headers
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.clone())
        };
        let mut body = Vec::new();
        if find("content-type").as_deref() == Some("text/event-stream") {
            // It has no end.
        } else if let Some(length) = find("content-length") {
            body.resize(length.parse().expect("a Content-Length"), 0);
            stream.read_exact(&mut body).await.expect("the whole body");
        } else if find("transfer-encoding").is_some() {
            while let Some(chunk) = chunk(&mut stream).await {
                body.extend_from_slice(&chunk);
            }
        }
        Answer {
            status,
            headers,
            body: String::from_utf8(body).expect("a UTF-8 body"),
        }
    };
    tokio::time::timeout(patience, exchange)
        .await
        .unwrap_or_else(|_| panic!("{method} {path} at {address} was not answered"))
}

async fn open(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (BufReader<TcpStream>, u16, Vec<(String, String)>) {
    let mut stream = TcpStream::connect(address)
        .await
        .unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream
        .write_all(head.as_bytes())
        .await
        .expect("sending the request");
    let mut stream = BufReader::new(stream);
    let status = line(&mut stream).await;
    let status = status
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("{method} {path}: no status line but {status:?}"));
    let mut headers = Vec::new();
    loop {
        let line = line(&mut stream).await;
        if line.is_empty() {
            return (stream, status, headers);
        }
        let (name, value) = line.split_once(':').expect("a header");
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("a line");
    line.trim_end().to_owned()
}

/// One chunk of a chunked body; `None` at its end, orderly or not.
async fn chunk(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut size = String::new();
    stream.read_line(&mut size).await.ok()?;
    let size = usize::from_str_radix(size.trim(), 16).ok()?;
    let mut chunk = vec![0; size + 2];
    stream.read_exact(&mut chunk).await.ok()?;
    chunk.truncate(size);
    (size > 0).then_some(chunk)
}

/// One server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The stream's last id, as of this event.
    pub id: Option<String>,
    pub name: String,
    pub data: String,
}

/// A stream of server-sent events, read as a browser would.
pub struct Events {
    stream: BufReader<TcpStream>,
    text: String,
    last_id: Option<String>,
}

impl Events {
    /// Opens a stream, resuming behind `last_event_id`.
    ///
    /// # Panics
    /// When it is not answered with 200 and `text/event-stream`.
    pub async fn open(address: SocketAddr, path: &str, last_event_id: Option<&str>) -> Self {
        Self::open_with(address, path, &[], last_event_id).await
    }

    /// The same with further headers.
    ///
    /// # Panics
    /// Likewise.
    pub async fn open_with(
        address: SocketAddr,
        path: &str,
        further: &[(&str, &str)],
        last_event_id: Option<&str>,
    ) -> Self {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend_from_slice(further);
        headers.extend(last_event_id.map(|id| ("last-event-id", id)));
        let (stream, status, headers) = open(address, "GET", path, &headers, "").await;
        assert_eq!(status, 200, "{path}");
        let event_stream = ("content-type".to_owned(), "text/event-stream".to_owned());
        assert!(headers.contains(&event_stream), "{path}: {headers:?}");
        Self {
            stream,
            text: String::new(),
            last_id: last_event_id.map(str::to_owned),
        }
    }

    /// The id that a browser would resume with.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next event with data; `None` when the stream has ended.
    ///
    /// # Panics
    /// When nothing comes for half a minute.
    pub async fn next(&mut self) -> Option<Event> {
        let next = async {
            loop {
                let block = self.block().await?;
                if let Some(event) = self.take(&block) {
                    return Some(event);
                }
            }
        };
        tokio::time::timeout(PATIENCE, next)
            .await
            .expect("no event came")
    }

    /// Waits until the stream has told where it is (before its first event).
    ///
    /// # Panics
    /// When the stream ends, or an event comes first.
    pub async fn positioned(&mut self) {
        let positioned = async {
            while self.last_id.is_none() {
                let block = self.block().await.expect("the stream goes on");
                assert_eq!(self.take(&block), None, "an event before the position");
            }
        };
        tokio::time::timeout(PATIENCE, positioned)
            .await
            .expect("no position came");
    }

    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let rest = self.text.split_off(end + 2);
                return Some(std::mem::replace(&mut self.text, rest));
            }
            let chunk = chunk(&mut self.stream).await?;
            self.text
                .push_str(&String::from_utf8(chunk).expect("UTF-8 events"));
        }
    }

    fn take(&mut self, block: &str) -> Option<Event> {
        let mut event = Event::default();
        let mut data = None::<String>;
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => self.last_id = Some(value.to_owned()),
                "event" => value.clone_into(&mut event.name),
                "data" => match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                },
                _ => {}
            }
        }
        event.data = data?;
        event.id = self.last_id.clone();
        Some(event)
    }
}
