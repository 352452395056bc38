//! A listener with TLS, SASL or both in front of an embedded broker, which has neither.
//!
//! Its SASL is PLAIN, with sessions that end (KIP-368) as Apache Kafka's do: a request after the end
//! closes the connection.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use broker::Advertised;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
    SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes, decode_request_header_from_buffer};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Kafka;
use crate::certificates::{Authority, Identity};

/// What a guard asks of clients.
#[derive(Default)]
pub struct Rules {
    tls: Option<rustls::ServerConfig>,
    /// Name, password, and how long a session lasts, if not for ever.
    sasl: Option<(String, String, Option<Duration>)>,
}

/// A running guard, with the broker behind it. Dropping it ends both.
pub struct Guard {
    address: SocketAddr,
    kafka: Kafka,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

struct State {
    tls: Option<TlsAcceptor>,
    sasl: Mutex<Option<(String, String, Option<Duration>)>>,
    logins: AtomicUsize,
    refused: AtomicUsize,
    /// APIs that were let through.
    passed: Mutex<HashSet<i16>>,
    /// Requests that came after their session's end.
    late: AtomicUsize,
}

impl Rules {
    /// TLS as `identity`; with `clients`, only for those that it signed.
    pub fn tls(mut self, identity: &Identity, clients: Option<&Authority>) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = CertificateDer::pem_file_iter(&identity.certificate)
            .and_then(Iterator::collect)
            .expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("the usual versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                let ca = CertificateDer::from_pem_file(authority.ca()).expect("a certificate");
                roots.add(ca).expect("an authority");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .expect("a verifier");
                builder.with_client_cert_verifier(verifier)
            }
        };
        self.tls = Some(builder.with_single_cert(chain, key).expect("a pair"));
        self
    }

    /// PLAIN with this name and password, for sessions as long as `lifetime`.
    pub fn plain(mut self, name: &str, password: &str, lifetime: Option<Duration>) -> Self {
        self.sasl = Some((name.to_owned(), password.to_owned(), lifetime));
        self
    }

    /// Starts an embedded broker and the guard in front of it.
    ///
    /// # Panics
    /// When one of them does not start.
    pub async fn start(self) -> Guard {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let kafka = Kafka::own_broker_with(|config| {
            config.advertised = Some(Advertised {
                host: address.ip().to_string(),
                port: address.port(),
            });
        })
        .await;
        let broker = kafka.bootstrap().to_owned();
        let state = Arc::new(State {
            tls: self.tls.map(|tls| TlsAcceptor::from(Arc::new(tls))),
            sasl: Mutex::new(self.sasl),
            logins: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            passed: Mutex::default(),
            late: AtomicUsize::new(0),
        });
        let task = tokio::spawn(accept(listener, broker, state.clone()));
        Guard {
            address,
            kafka,
            state,
            task,
        }
    }
}

impl Guard {
    /// `host:port` of the guard, which is what the broker tells clients, too.
    pub fn bootstrap(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The broker behind it, without guard.
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// From now on this is the password.
    pub fn set_password(&self, password: &str) {
        if let Some((_, current, _)) = &mut *self.state.sasl.lock() {
            password.clone_into(current);
        }
    }

    /// How often somebody logged in.
    pub fn logins(&self) -> usize {
        self.state.logins.load(Ordering::Relaxed)
    }

    /// How often name or password was wrong.
    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::Relaxed)
    }

    /// How many requests came after the end of their session.
    pub fn late(&self) -> usize {
        self.state.late.load(Ordering::Relaxed)
    }

    /// Whether such a request was let through.
    pub fn passed(&self, api: ApiKey) -> bool {
        self.state.passed.lock().contains(&(api as i16))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, broker: String, state: Arc<State>) {
    let mut clients = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        client.set_nodelay(true).expect("a socket option");
        let (broker, state) = (broker.clone(), state.clone());
        // A client that is not let in, or leaves, is no concern of the test's.
        clients.spawn(async move {
            let _ = match state.tls.clone() {
                Some(tls) => serve(tls.accept(client).await?, &broker, &state).await,
                None => serve(client, &broker, &state).await,
            };
            io::Result::Ok(())
        });
    }
}

async fn serve(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    broker: &str,
    state: &State,
) -> io::Result<()> {
    let mut broker = TcpStream::connect(broker).await?;
    broker.set_nodelay(true)?;
    let mut ends = None;
    let mut known = state.sasl.lock().is_none();
    while !known {
        let frame = read_frame(&mut client).await?;
        let mut body = frame.clone();
        let header = decode_request_header_from_buffer(&mut body).map_err(io::Error::other)?;
        let answer = match ApiKey::try_from(header.request_api_key) {
            Ok(ApiKey::ApiVersions) => {
                write_frame(&mut broker, &frame).await?;
                with_sasl(&header, read_frame(&mut broker).await?)?
            }
            Ok(ApiKey::SaslHandshake) => handshake(&header, body)?,
            Ok(ApiKey::SaslAuthenticate) => {
                let (answer, lifetime) = authenticate(state, &header, body)?;
                known = lifetime.is_some();
                ends = lifetime.flatten().map(|lifetime| Instant::now() + lifetime);
                answer
            }
            // As Apache Kafka does to who has not logged in.
            _ => return Ok(()),
        };
        write_frame(&mut client, &answer).await?;
    }
    let (mut from_broker, mut to_broker) = broker.split();
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let requests = async {
        loop {
            let frame = read_frame(&mut from_client).await?;
            if ends.is_some_and(|ends| ends <= Instant::now()) {
                state.late.fetch_add(1, Ordering::Relaxed);
                return io::Result::Ok(());
            }
            let api = i16::from_be_bytes([frame[0], frame[1]]);
            state.passed.lock().insert(api);
            write_frame(&mut to_broker, &frame).await?;
        }
    };
    let answers = async {
        loop {
            let frame = read_frame(&mut from_broker).await?;
            write_frame(&mut to_client, &frame).await?;
        }
    };
    tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    }
}

/// The broker's own answer with SASL's requests in it.
fn with_sasl(header: &RequestHeader, answer: Bytes) -> io::Result<Bytes> {
    let version = header.request_api_version;
    let mut body = answer.slice(4..);
    let mut response = ApiVersionsResponse::decode(&mut body, version).map_err(io::Error::other)?;
    for (api, newest) in [(ApiKey::SaslHandshake, 1), (ApiKey::SaslAuthenticate, 2)] {
        response.api_keys.push(
            ApiVersion::default()
                .with_api_key(api as i16)
                .with_max_version(newest),
        );
    }
    answered(header, ApiKey::ApiVersions, &response)
}

fn handshake(header: &RequestHeader, mut body: Bytes) -> io::Result<Bytes> {
    let asked = SaslHandshakeRequest::decode(&mut body, header.request_api_version)
        .map_err(io::Error::other)?;
    let known = asked.mechanism.as_str() == "PLAIN";
    let response = SaslHandshakeResponse::default()
        .with_error_code(if known { 0 } else { 33 })
        .with_mechanisms(vec![StrBytes::from_static_str("PLAIN")]);
    answered(header, ApiKey::SaslHandshake, &response)
}

/// The answer, and how long the session lasts if there is one.
fn authenticate(
    state: &State,
    header: &RequestHeader,
    mut body: Bytes,
) -> io::Result<(Bytes, Option<Option<Duration>>)> {
    let asked = SaslAuthenticateRequest::decode(&mut body, header.request_api_version)
        .map_err(io::Error::other)?;
    let sasl = state.sasl.lock().clone();
    let (name, password, lifetime) = sasl.unwrap_or_default();
    let right = asked.auth_bytes[..] == *format!("\0{name}\0{password}").as_bytes();
    let mut response = SaslAuthenticateResponse::default();
    if right {
        state.logins.fetch_add(1, Ordering::Relaxed);
        let lifetime = lifetime.map_or(0, |lifetime| lifetime.as_millis() as i64);
        response.session_lifetime_ms = lifetime;
    } else {
        state.refused.fetch_add(1, Ordering::Relaxed);
        response.error_code = 58;
        let message = "Authentication failed: Invalid username or password";
        response.error_message = Some(StrBytes::from_static_str(message));
    }
    let answer = answered(header, ApiKey::SaslAuthenticate, &response)?;
    Ok((answer, right.then_some(lifetime)))
}

fn answered<R: Encodable>(header: &RequestHeader, api: ApiKey, response: &R) -> io::Result<Bytes> {
    let version = header.request_api_version;
    let mut frame = BytesMut::new();
    ResponseHeader::default()
        .with_correlation_id(header.correlation_id)
        .encode(&mut frame, api.response_header_version(version))
        .map_err(io::Error::other)?;
    response
        .encode(&mut frame, version)
        .map_err(io::Error::other)?;
    Ok(frame.freeze())
}

async fn read_frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let size = from.read_i32().await?;
    let mut frame = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    from.read_exact(&mut frame).await?;
    Ok(frame.into())
}

async fn write_frame(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(frame.len() + 4);
    bytes.put_i32(frame.len() as i32);
    bytes.put_slice(frame);
    to.write_all(&bytes).await?;
    to.flush().await
}
