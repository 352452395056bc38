//! SCRAM (RFC 5802, RFC 7677), the client's side, without I/O and without randomness.
//!
//! ```text
//! client-first ──► server-first ──► client-final ──► server-final
//! n,,n=user,r=…    r=…,s=…,i=…      c=biws,r=…,p=…   v=… or e=…
//! ```
//!
//! No channel binding: Kafka's brokers know none.

#[cfg(any(test, fuzzing))]
pub(crate) mod server;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

/// RFC 7677, and what Kafka's Java client insists on: fewer would make a stolen exchange cheap to
/// guess from.
const MIN_ITERATIONS: u32 = 4_096;

/// Sixteen times the most that Kafka stores (`ScramMechanism.java`: 16,384). Whoever answers in a
/// broker's stead must not keep this client computing.
const MAX_ITERATIONS: u32 = 262_144;

/// The header of a client without channel binding, and its Base64 text.
const GS2_HEADER: &str = "n,,";
const GS2_HEADER_BASE64: &str = "biws";

/// The hash that everything is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

/// What a server must not say. Holds nothing secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScramError {
    #[error("the broker's answer is no SCRAM message: {0}")]
    Malformed(&'static str),
    #[error("the broker's nonce does not continue this client's: somebody may be in between")]
    Nonce,
    #[error("the broker asks for {0} iterations, fewer than the {MIN_ITERATIONS} that are safe")]
    TooFewIterations(u32),
    #[error("the broker asks for {0} iterations, more than the {MAX_ITERATIONS} this client does")]
    TooManyIterations(u32),
    #[error("the broker asks for an extension that this client does not know")]
    Extension,
    #[error("the broker does not prove that it knows the password: it may be another server")]
    Signature,
    #[error("the broker says {0:?}")]
    Refused(String),
}

/// Waits for the server's first message.
pub(super) struct Scram {
    hash: Hash,
    password: String,
    nonce: String,
    first_bare: String,
}

/// Waits for the server's final message.
pub(super) struct Proven {
    hash: Hash,
    server_key: Vec<u8>,
    auth_message: String,
}

impl Scram {
    /// Begins; `nonce` is printable, random and used once.
    pub(super) fn new(hash: Hash, username: &str, password: &str, nonce: &str) -> Self {
        // RFC 5802: a name holds neither of these two as they are.
        let username = username.replace('=', "=3D").replace(',', "=2C");
        Self {
            hash,
            password: password.to_owned(),
            nonce: nonce.to_owned(),
            first_bare: format!("n={username},r={nonce}"),
        }
    }

    /// The client's first message.
    pub(super) fn first_message(&self) -> String {
        format!("{GS2_HEADER}{}", self.first_bare)
    }

    /// The client's final message, for the server's first one. Computes the whole password hash: some
    /// milliseconds.
    pub(super) fn answer(&self, server_first: &[u8]) -> Result<(Proven, String), ScramError> {
        let server_first = text(server_first)?;
        let challenge = Challenge::parse(server_first)?;
        if challenge.nonce.len() <= self.nonce.len() || !challenge.nonce.starts_with(&self.nonce) {
            return Err(ScramError::Nonce);
        }
        if challenge.iterations < MIN_ITERATIONS {
            return Err(ScramError::TooFewIterations(challenge.iterations));
        }
        if challenge.iterations > MAX_ITERATIONS {
            return Err(ScramError::TooManyIterations(challenge.iterations));
        }
        let without_proof = format!("c={GS2_HEADER_BASE64},r={}", challenge.nonce);
        let auth_message = format!("{},{server_first},{without_proof}", self.first_bare);
        let (hash, password) = (self.hash, self.password.as_bytes());
        let salted = hash.salted(password, &challenge.salt, challenge.iterations);
        let mut proof = hash.hmac(&salted, b"Client Key");
        let stored_key = hash.digest(&proof);
        let signature = hash.hmac(&stored_key, auth_message.as_bytes());
        for (byte, mask) in proof.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        let proven = Proven {
            hash,
            server_key: hash.hmac(&salted, b"Server Key"),
            auth_message,
        };
        let message = format!("{without_proof},p={}", BASE64.encode(proof));
        Ok((proven, message))
    }
}

impl Proven {
    /// Whether the server knows the password too.
    pub(super) fn finish(&self, server_final: &[u8]) -> Result<(), ScramError> {
        let first = text(server_final)?.split(',').next().unwrap_or_default();
        if let Some(problem) = first.strip_prefix("e=") {
            return Err(ScramError::Refused(problem.to_owned()));
        }
        let signature = first
            .strip_prefix("v=")
            .and_then(|signature| BASE64.decode(signature).ok())
            .ok_or(ScramError::Malformed("no signature"))?;
        let message = self.auth_message.as_bytes();
        if self.hash.verifies(&self.server_key, message, &signature) {
            Ok(())
        } else {
            Err(ScramError::Signature)
        }
    }
}

/// The server's first message.
struct Challenge<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> Challenge<'a> {
    fn parse(message: &'a str) -> Result<Self, ScramError> {
        let mut attributes = message.split(',');
        let mut attribute = |name: &str, missing| {
            let attribute = attributes.next().unwrap_or_default();
            // RFC 5802: an extension that must be understood comes first.
            if attribute.starts_with("m=") {
                return Err(ScramError::Extension);
            }
            attribute
                .strip_prefix(name)
                .filter(|value| !value.is_empty())
                .ok_or(ScramError::Malformed(missing))
        };
        let nonce = attribute("r=", "no nonce")?;
        if !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ScramError::Malformed("a nonce that is not printable"));
        }
        let salt = BASE64
            .decode(attribute("s=", "no salt")?)
            .map_err(|_| ScramError::Malformed("a salt that is not Base64"))?;
        let iterations = attribute("i=", "no iteration count")?
            .parse()
            .map_err(|_| ScramError::Malformed("an iteration count that is no number"))?;
        Ok(Self {
            nonce,
            salt,
            iterations,
        })
    }
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("it is not UTF-8"))
}

impl Hash {
    /// RFC 5802's `Hi`: PBKDF2 with an output as long as the hash.
    fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        // Fuzzing is after messages, not after hashes, and would do little else.
        #[cfg(fuzzing)]
        let iterations = iterations.min(2);
        match self {
            Self::Sha256 => salted::<Hmac<Sha256>>(password, salt, iterations),
            Self::Sha512 => salted::<Hmac<Sha512>>(password, salt, iterations),
        }
    }

    fn hmac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => keyed::<Hmac<Sha256>>(key, message).finalize().into_bytes()[..].into(),
            Self::Sha512 => keyed::<Hmac<Sha512>>(key, message).finalize().into_bytes()[..].into(),
        }
    }

    /// In a time that does not tell where the signatures differ.
    fn verifies(self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Sha256 => keyed::<Hmac<Sha256>>(key, message).verify_slice(signature),
            Self::Sha512 => keyed::<Hmac<Sha512>>(key, message).verify_slice(signature),
        }
        .is_ok()
    }

    fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message)[..].into(),
            Self::Sha512 => Sha512::digest(message)[..].into(),
        }
    }
}

fn keyed<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> M {
    <M as KeyInit>::new_from_slice(key)
        .expect("HMAC takes a key of any length")
        .chain_update(message)
}

fn salted<M: Mac + KeyInit + Clone>(password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    // Keyed once: half of the work of an HMAC is its key.
    let keyed = keyed::<M>(password, b"");
    let once = |message: &[u8]| keyed.clone().chain_update(message).finalize().into_bytes();
    let mut round = once(&[salt, &1_u32.to_be_bytes()].concat());
    let mut result = round.to_vec();
    for _ in 1..iterations {
        round = once(&round);
        for (sum, byte) in result.iter_mut().zip(&round) {
            *sum ^= byte;
        }
    }
    result
}

#[cfg(test)]
mod tests;
