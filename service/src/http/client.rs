use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, StatusCode, Uri, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::config::{Secret, Value};
use crate::healthcheck::reachable;

/// Longest answer that is read: many times what a service of this shop says about one thing.
const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Where another service listens, such as `http://carts:5003`, perhaps with a path before its own.
///
/// No login can be in it, and no TLS is spoken: services ask each other inside of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    host: String,
    port: u16,
    /// Without a slash at its end.
    prefix: String,
}

/// What a service answered.
#[derive(Debug, Clone)]
pub struct ServiceAnswer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{url} cannot be reached: {error}")]
    Unreachable {
        url: ServiceUrl,
        error: std::io::Error,
    },
    #[error("{url} hung up, or does not speak HTTP: {error}")]
    Broken {
        url: ServiceUrl,
        error: hyper::Error,
    },
    #[error("the answer of {url} is longer than {MAX_ANSWER_BYTES} bytes, or breaks off")]
    Unreadable { url: ServiceUrl },
}

impl ServiceUrl {
    /// `GET` of `path`, which begins with a slash, over a connection of its own. Not bounded in time:
    /// dropped, it closes its connection.
    ///
    /// # Errors
    /// No answer, or one that cannot be read; a status is none.
    pub async fn get(&self, path: &str) -> Result<ServiceAnswer, CallError> {
        self.get_as(path, None).await
    }

    /// The same with a bearer token, such as `AUTH_SERVICE_TOKEN`.
    ///
    /// # Errors
    /// Those of [`ServiceUrl::get`].
    pub async fn get_as(
        &self,
        path: &str,
        token: Option<&Secret>,
    ) -> Result<ServiceAnswer, CallError> {
        let url = || self.clone();
        let broken = |error| CallError::Broken { url: url(), error };
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| CallError::Unreachable { url: url(), error })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let mut request = Request::get(format!("{}{path}", self.prefix))
            .header(HOST, self.authority())
            .header(ACCEPT, "application/json");
        let token = token.and_then(|token| {
            let bearer = format!("Bearer {}", token.expose());
            HeaderValue::try_from(bearer).ok()
        });
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .expect("a path of this program and a host that was read as one");
        let asking = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES);
            match body.collect().await {
                Ok(body) => Ok(ServiceAnswer {
                    status,
                    body: body.to_bytes(),
                }),
                Err(_) => Err(CallError::Unreadable { url: url() }),
            }
        };
        tokio::pin!(asking);
        tokio::select! {
            answer = &mut asking => answer,
            // It carries what is asked and answered; over, it may have left a whole answer behind.
            ended = connection => match ended {
                Ok(()) => asking.await,
                Err(error) => Err(broken(error)),
            },
        }
    }

    fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.prefix)
    }
}

/// Where a listener of this machine is reached.
impl From<SocketAddr> for ServiceUrl {
    fn from(address: SocketAddr) -> Self {
        let address = reachable(address);
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            prefix: String::new(),
        }
    }
}

impl Value for ServiceUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = || "must be http://host[:port][/path], without a login".to_owned();
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let (Some("http"), Some(authority), None) =
            (uri.scheme_str(), uri.authority(), uri.query())
        else {
            return Err(expected());
        };
        let host = authority.host();
        // hyper takes a port that is no number for none.
        let has_port = authority.as_str().len() > host.len();
        let port = match (authority.port_u16(), has_port) {
            (Some(port), _) => port,
            (None, false) => 80,
            (None, true) => return Err(expected()),
        };
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(expected());
        }
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_no_address_of_a_service_is_a_mistake() {
        for (text, shown) in [
            ("http://localhost:5003", "http://localhost:5003"),
            ("http://carts/", "http://carts:80"),
            ("http://10.0.0.1:8080/shop/", "http://10.0.0.1:8080/shop"),
            ("http://[::1]:5003", "http://[::1]:5003"),
        ] {
            let url = ServiceUrl::parse(text).map(|url| url.to_string());
            assert_eq!(url.as_deref(), Ok(shown));
        }
        for text in [
            "",
            "localhost:5003",
            "https://carts",
            "/carts",
            "http://me:secret7@carts",
            "http://carts:port",
            "http://carts/?x=1",
        ] {
            let refused = ServiceUrl::parse(text).unwrap_err();
            assert!(!refused.contains("secret7"), "{text}");
        }
    }

    /// A service that says `answer` to whoever asks first, and what it was asked.
    async fn saying(answer: &'static [u8]) -> (ServiceUrl, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/shop", listener.local_addr().unwrap());
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4_096];
            let length = stream.read(&mut asked).await.unwrap();
            stream.write_all(answer).await.unwrap();
            String::from_utf8(asked[..length].to_vec()).unwrap()
        });
        (ServiceUrl::parse(&url).unwrap(), asked)
    }

    #[tokio::test]
    async fn an_answer_is_read_whatever_its_status() {
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
        let (url, asked) = saying(answer).await;
        let answer = url.get("/cart/1").await.unwrap();
        assert_eq!((answer.status.as_u16(), &*answer.body), (404, &b"{}"[..]));
        let asked = asked.await.unwrap();
        assert!(
            asked.starts_with("GET /shop/cart/1 HTTP/1.1\r\n"),
            "{asked}"
        );
        // As HTTP/1.0 ends one.
        let (url, _) = saying(b"HTTP/1.0 200 OK\r\n\r\nto the end").await;
        assert_eq!(&*url.get("/").await.unwrap().body, b"to the end");
    }

    #[tokio::test]
    async fn no_answer_is_an_error_that_names_the_service() {
        let (url, _) = saying(b"SSH-2.0-OpenSSH_9.6\r\n").await;
        let (cut, _) = saying(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}").await;
        let closed = ServiceUrl::parse("http://127.0.0.1:1").unwrap();
        for url in [url, cut, closed] {
            let error = url.get("/").await.unwrap_err().to_string();
            assert!(error.contains(&url.to_string()), "{error}");
        }
    }
}
