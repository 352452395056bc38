//! The opening of a connection with a login, to a broker that says whatever it likes.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        ApiKey, ApiVersionsResponse, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
        SaslAuthenticateResponse, SaslHandshakeResponse, api_versions_response::ApiVersion,
    },
    protocol::{Decodable as _, Encodable, HeaderVersion, StrBytes},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::input::Input;
use crate::{
    client::ClientConfig,
    connection::{opening::Opening, stream::Stream},
    error::Error,
    security::{Sasl, SaslMechanism, ScramHash, ScramServer, Security},
};

/// With a space, which neither Base64 nor a nonce holds.
const PASSWORD: &str = "blue pencil";

/// What the broker keeps of the user, computed once.
static SHA256: LazyLock<ScramServer> = LazyLock::new(|| user(ScramHash::Sha256));
static SHA512: LazyLock<ScramServer> = LazyLock::new(|| user(ScramHash::Sha512));

fn user(hash: ScramHash) -> ScramServer {
    ScramServer::new(hash, PASSWORD, b"salt", 4096)
}

/// In a broker's token, what only the running exchange knows: the client's first message's nonce,
/// and the final message that proves the broker.
const NONCE: &str = "$N";
const PROOF: &str = "$V";

/// More than both sides have on their way at a time.
const PIPE: usize = 1 << 18;

/// How long the broker waits for a request, in the runtime's time, which does not wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// The mechanism and the broker's version of SaslAuthenticate, then an answer for each request.
pub fn login(data: &[u8]) {
    let mut input = Input::new(data);
    let kind = input.byte();
    let mechanism = match kind % 3 {
        0 => SaslMechanism::Plain,
        1 => SaslMechanism::ScramSha256,
        _ => SaslMechanism::ScramSha512,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let started = Instant::now();
    let (broker, opened) = runtime.block_on(async {
        let (ours, theirs) = tokio::io::duplex(PIPE);
        let mut broker = Broker::new(mechanism, i16::from(kind / 3 % 3));
        let mut config = ClientConfig::new("broker:9092").expect("an address");
        config.security = Security {
            tls: None,
            sasl: Some(Sasl::new(mechanism, "user", PASSWORD).expect("a good login")),
        };
        let mut opening = Opening::new("broker:9092".into(), &config);
        let client = async {
            // Its stream is closed with that.
            let opened = opening.introduce(Stream::Memory(ours)).await;
            opened.map(|opened| opened.renew_at)
        };
        let both = async { tokio::join!(client, broker.serve(theirs, input)).0 };
        let opened = tokio::time::timeout(Duration::from_secs(60), both).await;
        let opened = opened.expect("a broker that hung up is not waited for");
        (broker, opened)
    });
    check(&broker, opened, started);
}

fn check(broker: &Broker, opened: Result<Option<Instant>, Error>, started: Instant) {
    match opened {
        Ok(renew_at) => {
            assert!(
                broker.scram.is_none() || broker.proved,
                "a broker that proved nothing"
            );
            assert!(renew_at.is_none_or(|at| at >= started));
        }
        Err(error) => assert!(!broker.honest, "an honest broker: {error}"),
    }
}

struct Broker {
    mechanism: SaslMechanism,
    /// The newest SaslAuthenticate that it knows.
    authenticate: i16,
    scram: Option<&'static ScramServer>,
    /// The client's tokens, and the broker's.
    heard: Vec<String>,
    said: Vec<String>,
    /// Nothing was said so far but what a real one says.
    honest: bool,
    /// The last token was the proof that only who knows the password can give.
    proved: bool,
}

impl Broker {
    fn new(mechanism: SaslMechanism, authenticate: i16) -> Self {
        Self {
            mechanism,
            authenticate,
            scram: match mechanism {
                SaslMechanism::Plain => None,
                SaslMechanism::ScramSha256 => Some(&SHA256),
                SaslMechanism::ScramSha512 => Some(&SHA512),
            },
            heard: Vec::new(),
            said: Vec::new(),
            honest: true,
            proved: false,
        }
    }

    /// Answers until the input is used up or the client waits for more, then hangs up. The client
    /// may hang up any time.
    async fn serve(&mut self, mut stream: DuplexStream, mut input: Input<'_>) {
        while let Ok(Ok(size)) = tokio::time::timeout(PATIENCE, stream.read_u32()).await {
            let mut frame = vec![0; size as usize];
            let Ok(_) = stream.read_exact(&mut frame).await else {
                break;
            };
            if input.is_empty() {
                self.honest = false;
                break;
            }
            let answer = self.answer(frame.into(), &mut input);
            if stream.write_all(&answer).await.is_err() {
                break;
            }
        }
    }

    fn answer(&mut self, mut frame: Bytes, input: &mut Input<'_>) -> BytesMut {
        if self.mechanism != SaslMechanism::Plain {
            let shown = frame
                .windows(PASSWORD.len())
                .any(|part| part == PASSWORD.as_bytes());
            assert!(!shown, "the password went out");
        }
        let api = ApiKey::try_from(frame.slice(..2).get_i16()).expect("a request");
        let version = frame.slice(2..4).get_i16();
        let header = RequestHeader::decode(&mut frame, api.request_header_version(version));
        let correlation = header.expect("a request").correlation_id;
        if api == ApiKey::SaslAuthenticate {
            let request = SaslAuthenticateRequest::decode(&mut frame, version).expect("a request");
            let token = std::str::from_utf8(&request.auth_bytes).expect("the client speaks UTF-8");
            self.heard.push(token.to_owned());
        }
        let kind = input.byte() % 4;
        self.honest &= kind == 0;
        match (kind, api) {
            (0, ApiKey::ApiVersions) => answered(correlation, version, &self.versions()),
            (0, ApiKey::SaslHandshake) => {
                let name = StrBytes::from_static_str(self.mechanism.name());
                let handshake = SaslHandshakeResponse::default().with_mechanisms(vec![name]);
                answered(correlation, version, &handshake)
            }
            (0, _) => {
                let token = match self.heard.len() {
                    1 => self.challenge(),
                    _ => self.proof(),
                };
                self.token(correlation, version, token.unwrap_or_default().into(), 0)
            }
            (1, ApiKey::SaslAuthenticate) => {
                let lifetime = input.number();
                let token = self.filled(input.piece());
                self.token(correlation, version, token, lifetime)
            }
            (1 | 2, _) => sized(&[&correlation.to_be_bytes(), input.piece()]),
            _ => BytesMut::from(input.piece()),
        }
    }

    fn versions(&self) -> ApiVersionsResponse {
        let known = [
            (ApiKey::ApiVersions, 3),
            (ApiKey::SaslHandshake, 1),
            (ApiKey::SaslAuthenticate, self.authenticate),
        ];
        let known = known.map(|(api, newest)| {
            ApiVersion::default()
                .with_api_key(api as i16)
                .with_max_version(newest)
        });
        ApiVersionsResponse::default().with_api_keys(known.into())
    }

    fn challenge(&self) -> Option<String> {
        Some(self.scram?.challenge(self.heard.first()?))
    }

    /// Of the exchange as it went, if the client's proof is right.
    fn proof(&self) -> Option<String> {
        let ([first, last], [challenge]) = (&self.heard[..], &self.said[..]) else {
            return None;
        };
        self.scram?.check(first, challenge, last)
    }

    /// A token, what it leaves open filled in.
    fn filled(&self, token: &[u8]) -> Vec<u8> {
        let Ok(token) = std::str::from_utf8(token) else {
            return token.to_vec();
        };
        let nonce = self
            .heard
            .first()
            .and_then(|first| first.split(",r=").nth(1));
        let token = token.replace(NONCE, nonce.unwrap_or_default());
        let proof = self.proof().unwrap_or_default();
        token.replace(PROOF, &proof).into()
    }

    fn token(&mut self, correlation: i32, version: i16, token: Vec<u8>, lifetime: i64) -> BytesMut {
        let proof = self.proof();
        self.proved = proof.is_some_and(|proof| {
            // Extensions may follow.
            token.split(|byte| *byte == b',').next() == Some(proof.as_bytes())
        });
        self.said.push(String::from_utf8_lossy(&token).into_owned());
        let response = SaslAuthenticateResponse::default()
            .with_auth_bytes(token.into())
            .with_session_lifetime_ms(if version > 0 { lifetime } else { 0 });
        answered(correlation, version, &response)
    }
}

fn answered<R: Encodable + HeaderVersion>(
    correlation: i32,
    version: i16,
    response: &R,
) -> BytesMut {
    let mut answer = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(correlation);
    header
        .encode(&mut answer, R::header_version(version))
        .expect("a header");
    response.encode(&mut answer, version).expect("an answer");
    sized(&[&answer])
}

fn sized(parts: &[&[u8]]) -> BytesMut {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = BytesMut::with_capacity(size + 4);
    frame.put_u32(size as u32);
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    frame
}
