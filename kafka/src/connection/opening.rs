//! Opening a connection: socket, TLS, versions, and who this client is. One request at a time, before
//! the connection's task takes over.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, ApiVersionsRequest, SaslAuthenticateRequest, SaslAuthenticateResponse,
        SaslHandshakeRequest,
    },
    protocol::{Request, StrBytes},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wire::Shape;

use super::{
    frame::{api_key, decode, encode},
    stream::{self, Stream},
};
use crate::{
    client::ClientConfig,
    cluster::random,
    error::Error,
    security::{Exchange, Refusal, Sasl, Step},
    versions::{self, BrokerVersions},
};

/// Largest answer taken before the broker is known to be one, in bytes. The largest that comes is
/// that of ApiVersions, about 1 kB.
const MAX_ANSWER: usize = 1 << 20;

/// SaslHandshake from this version on is followed by SaslAuthenticate requests (KIP-152); before,
/// by bare tokens. Kafka knows it since 1.0.
const WRAPPED_TOKENS: i16 = 1;

/// Part of a session after which its connection is replaced, and how much that varies, so that
/// connections do not all come back at once (Java's `SaslClientAuthenticator`).
const RENEWAL: (f64, f64) = (0.85, 0.10);

/// Sessions longer than this need no renewal that anybody would see.
const LONGEST_SESSION: Duration = Duration::from_secs(365 * 24 * 3600);

/// Bytes of a SASL nonce.
const NONCE: usize = 24;

/// What an opened connection consists of.
pub(crate) struct Opened {
    pub(super) stream: Stream,
    pub(super) versions: BrokerVersions,
    pub(crate) renew_at: Option<Instant>,
}

pub(crate) struct Opening<'a> {
    address: Arc<str>,
    config: &'a ClientConfig,
    started: Instant,
    step: &'static str,
    correlation: i32,
}

impl<'a> Opening<'a> {
    pub(crate) fn new(address: Arc<str>, config: &'a ClientConfig) -> Self {
        Self {
            address,
            config,
            started: Instant::now(),
            step: "connecting",
            correlation: 0,
        }
    }

    pub(super) async fn run(&mut self) -> Result<Opened, Error> {
        let socket = stream::connect(&self.address)
            .await
            .map_err(|error| self.unconnected(error))?;
        let stream = match &self.config.security.tls {
            None => Stream::Plain(socket),
            Some(tls) => {
                self.step = "the TLS handshake";
                let host = stream::host(&self.address).to_owned();
                stream::secure(socket, &host, tls)
                    .await
                    .map_err(|error| match error.kind() {
                        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                            self.refused(Refusal::ClosedInTls)
                        }
                        _ => self.broken(error),
                    })?
            }
        };
        self.introduce(stream).await
    }

    /// What follows on a stream that is open: the versions, and the login.
    pub(crate) async fn introduce(&mut self, mut stream: Stream) -> Result<Opened, Error> {
        self.step = "asking for versions";
        let versions = self.negotiate(&mut stream).await?;
        let renew_at = match &self.config.security.sasl {
            None => None,
            Some(sasl) => {
                self.step = "logging in";
                self.authenticate(&mut stream, &versions, sasl).await?
            }
        };
        Ok(Opened {
            stream,
            versions,
            renew_at,
        })
    }

    /// The error for a time that is up.
    pub(super) fn timed_out(&self) -> Error {
        self.unconnected(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("{} took too long", self.step),
        ))
    }

    /// KIP-511: the newest ApiVersions first; a broker that does not know it answers in version 0.
    async fn negotiate(&mut self, stream: &mut Stream) -> Result<BrokerVersions, Error> {
        let newest = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(env!("CARGO_PKG_NAME")))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let newest_version = versions::ours::<ApiVersionsRequest>().1.min(3);
        let mut response = self.call(stream, &newest, newest_version).await?;
        if response.error_code == ResponseError::UnsupportedVersion.code() {
            let oldest = ApiVersionsRequest::default();
            response = self.call(stream, &oldest, 0).await?;
        }
        Error::check(ApiKey::ApiVersions, response.error_code, None, || {
            format!("broker {}", self.address)
        })?;
        Ok(BrokerVersions::new(&response))
    }

    /// Proves who this client is, and says when to do so again (KIP-368).
    async fn authenticate(
        &mut self,
        stream: &mut Stream,
        versions: &BrokerVersions,
        sasl: &Sasl,
    ) -> Result<Option<Instant>, Error> {
        let mechanism = sasl.mechanism();
        if versions.range(ApiKey::SaslHandshake as i16).is_none() {
            return Err(self.refused(Refusal::NoSasl));
        }
        let version = self.version::<SaslHandshakeRequest>(versions)?;
        if version < WRAPPED_TOKENS {
            return Err(self.unsupported::<SaslHandshakeRequest>(versions));
        }
        let authenticate_version = self.version::<SaslAuthenticateRequest>(versions)?;
        let handshake = SaslHandshakeRequest::default()
            .with_mechanism(StrBytes::from_static_str(mechanism.name()));
        let response = self.call(stream, &handshake, version).await?;
        match ResponseError::try_from_code(response.error_code) {
            None => {}
            Some(ResponseError::UnsupportedSaslMechanism) => {
                let offered = response.mechanisms.iter().map(ToString::to_string);
                return Err(self.refused(Refusal::Mechanism {
                    mechanism,
                    offered: offered.collect(),
                }));
            }
            // What a listener without SASL says.
            Some(ResponseError::IllegalSaslState) => return Err(self.refused(Refusal::NoSasl)),
            Some(code) => {
                let what = format!("broker {}", self.address);
                return Err(Error::response(ApiKey::SaslHandshake, code, what));
            }
        }
        let (mut exchange, mut token) = Exchange::begin(sasl, &self.nonce()?);
        loop {
            let sent = Instant::now();
            let request = SaslAuthenticateRequest::default().with_auth_bytes(token.into());
            let response = self.call(stream, &request, authenticate_version).await?;
            self.check(&response, sasl)?;
            let lifetime = response.session_lifetime_ms;
            let (back, step) = compute(exchange, response.auth_bytes).await;
            exchange = back;
            match step.map_err(|refusal| self.refused(refusal))? {
                Step::Send(next) => token = next,
                Step::Done => return Ok(renewal(sent, lifetime)),
            }
        }
    }

    fn check(&self, response: &SaslAuthenticateResponse, sasl: &Sasl) -> Result<(), Error> {
        let message = response.error_message.as_deref();
        match ResponseError::try_from_code(response.error_code) {
            Some(ResponseError::SaslAuthenticationFailed) => {
                Err(self.refused(Refusal::Credentials {
                    mechanism: sasl.mechanism(),
                    message: message.filter(|text| !text.is_empty()).map(Into::into),
                }))
            }
            _ => Error::check(
                ApiKey::SaslAuthenticate,
                response.error_code,
                message,
                || format!("broker {}", self.address),
            ),
        }
    }

    fn nonce(&self) -> Result<String, Error> {
        let mut bytes = [0; NONCE];
        getrandom::fill(&mut bytes)
            .map_err(|error| self.unconnected(io::Error::other(error.to_string())))?;
        Ok(STANDARD_NO_PAD.encode(bytes))
    }

    /// One request and its answer. Bounded by the time that opening may take.
    async fn call<R: Request<Response: Shape>>(
        &mut self,
        stream: &mut Stream,
        request: &R,
        version: i16,
    ) -> Result<R::Response, Error> {
        let api = api_key::<R>();
        let client_id = StrBytes::from_string(self.config.client_id.clone());
        let malformed = |reason: String| Error::Malformed {
            address: self.address.clone(),
            api,
            reason: reason.into(),
        };
        let frame =
            encode(request, api, version, self.correlation, &client_id).map_err(malformed)?;
        let answer = self.exchange(stream, &frame).await;
        let answer = answer.map_err(|problem| match problem {
            Unanswered::Broken(error) => self.broken(error),
            Unanswered::Refused(refusal) => self.refused(refusal),
            Unanswered::Malformed(reason) => malformed(reason),
        })?;
        if answer.get(..4) != Some(&self.correlation.to_be_bytes()[..]) {
            return Err(malformed("the answer is to another request".to_owned()));
        }
        let response = decode::<R>(answer, version).map_err(malformed)?;
        self.correlation += 1;
        Ok(response)
    }

    async fn exchange(&self, stream: &mut Stream, frame: &[u8]) -> Result<Bytes, Unanswered> {
        stream.write_all(frame).await?;
        stream.flush().await?;
        let mut prefix = [0; 4];
        stream.read_exact(&mut prefix).await?;
        if self.config.security.tls.is_none() && is_tls_record(prefix) {
            return Err(Unanswered::Refused(Refusal::OnlyTls));
        }
        let size = i32::from_be_bytes(prefix);
        let limit = self.config.max_frame_bytes.min(MAX_ANSWER);
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= limit)
            .ok_or_else(|| {
                Unanswered::Malformed(format!("an answer has the size {size}, at most {limit} is taken before the connection is open; is this a Kafka broker?"))
            })?;
        let mut answer = vec![0; size];
        stream.read_exact(&mut answer).await?;
        Ok(answer.into())
    }

    fn version<R: Request>(&self, versions: &BrokerVersions) -> Result<i16, Error> {
        versions
            .choose(R::KEY, versions::ours::<R>())
            .ok_or_else(|| self.unsupported::<R>(versions))
    }

    fn unsupported<R: Request>(&self, versions: &BrokerVersions) -> Error {
        Error::UnsupportedVersion {
            address: self.address.clone(),
            api: api_key::<R>(),
            ours: versions::ours::<R>(),
            broker: versions.range(R::KEY),
        }
    }

    fn unconnected(&self, error: io::Error) -> Error {
        Error::Connect {
            address: self.address.clone(),
            elapsed: self.started.elapsed(),
            source: Arc::new(error),
        }
    }

    /// The connection ended on the way: refused, if TLS says so.
    fn broken(&self, error: io::Error) -> Error {
        let tls = self.config.security.tls.as_ref();
        match tls.and_then(|tls| stream::refusal(&error, &self.address, tls)) {
            Some(refusal) => self.refused(refusal),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.unconnected(io::Error::new(
                    error.kind(),
                    format!("the broker closed it during {}", self.step),
                ))
            }
            None => self.unconnected(error),
        }
    }

    fn refused(&self, refusal: Refusal) -> Error {
        Error::Refused {
            address: self.address.clone(),
            refusal: Arc::new(refusal),
        }
    }
}

/// Why a request of the opening has no answer.
enum Unanswered {
    Broken(io::Error),
    Refused(Refusal),
    Malformed(String),
}

impl From<io::Error> for Unanswered {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// The exchange's step, aside: a password hash takes too long for a thread that serves others.
async fn compute(mut exchange: Exchange, token: Bytes) -> (Exchange, Result<Step, Refusal>) {
    let computing = tokio::task::spawn_blocking(move || {
        let step = exchange.receive(&token);
        (exchange, step)
    });
    match computing.await {
        Ok(computed) => computed,
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        // The runtime is shutting down, and this future with it.
        Err(_) => std::future::pending().await,
    }
}

/// The first bytes of a TLS record instead of a size: an alert or a part of a handshake.
fn is_tls_record(prefix: [u8; 4]) -> bool {
    matches!(prefix, [0x15 | 0x16, 3, 0..=4, _])
}

/// When to replace a connection whose session began with a request at `sent`.
fn renewal(sent: Instant, lifetime_ms: i64) -> Option<Instant> {
    let lifetime = Duration::from_millis(u64::try_from(lifetime_ms).ok()?);
    if lifetime.is_zero() {
        return None;
    }
    let (part, jitter) = RENEWAL;
    let jitter = jitter * ((random() >> 11) as f64 / (1_u64 << 53) as f64);
    Some(sent + lifetime.min(LONGEST_SESSION).mul_f64(part + jitter))
}

#[cfg(test)]
mod tests;
