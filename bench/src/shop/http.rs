//! As much of HTTP/1.1 as the benchmark speaks: requests as bytes, answers with a `Content-Length`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::Failure;

/// Where an answer's parts are.
#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    /// Of the whole answer, in bytes.
    length: usize,
    body: usize,
}

/// `None`: its head has not come whole yet.
fn head(bytes: &[u8]) -> Result<Option<Head>, Failure> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&bytes[..end])?;
    let status = text.split(' ').nth(1).ok_or("an answer without a status")?;
    let mut length = None;
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let body = end + 4;
    Ok(Some(Head {
        status: status.parse()?,
        length: body + length.ok_or("an answer without Content-Length")?,
        body,
    }))
}

/// Sends a request and reads its answer into `answer`; gives the status and where the body begins.
pub(super) async fn exchange(
    stream: &mut TcpStream,
    request: &[u8],
    answer: &mut Vec<u8>,
) -> Result<(u16, usize), Failure> {
    stream.write_all(request).await?;
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            return Err("the shop closed a connection before its answer".into());
        }
        match head(answer)? {
            Some(head) if answer.len() >= head.length => return Ok((head.status, head.body)),
            _ => {}
        }
    }
}

/// Status and body.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<(u16, String), Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let mut answer = Vec::new();
    let (status, body) = exchange(&mut stream, request.as_bytes(), &mut answer).await?;
    Ok((
        status,
        String::from_utf8_lossy(&answer[body..]).into_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_long_as_its_head_says() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nabc";
        let expected = Head {
            status: 503,
            length: answer.len(),
            body: answer.len() - 3,
        };
        assert_eq!(head(answer).expect("valid"), Some(expected));
        assert_eq!(head(&answer[..40]).expect("valid"), None);
        assert!(head(b"HTTP/1.1 200 OK\r\ndate: now\r\n\r\n").is_err());
    }
}
