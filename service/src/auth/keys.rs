use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use graviola::hashing::Sha256;
use graviola::signing::{ecdsa, rsa};
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::MissedTickBehavior;

use super::token::TokenError;

/// RFC 7518, 3.2: a key of HS256 is as long as its hash.
pub(super) const MIN_SECRET_BYTES: usize = 32;

/// Keys of a file that are used, and bytes of it that are read: an issuer has a handful.
const MAX_KEYS: usize = 64;
const MAX_FILE_BYTES: u64 = 1 << 20;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// What a token may be signed with. No others, and above all not `none`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
}

impl Algorithm {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            _ => None,
        }
    }
}

/// A shared secret, for HS256 alone.
#[derive(Clone)]
pub(super) struct SecretKey(Hmac<sha2::Sha256>);

impl SecretKey {
    /// `None` for a secret that is too short.
    pub(super) fn new(secret: &str) -> Option<Self> {
        if secret.len() < MIN_SECRET_BYTES {
            return None;
        }
        Hmac::new_from_slice(secret.as_bytes()).ok().map(Self)
    }

    fn has_signed(&self, signed: &str, signature: &[u8]) -> bool {
        let mut mac = self.0.clone();
        mac.update(signed.as_bytes());
        // In constant time.
        mac.verify_slice(signature).is_ok()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(hidden)")
    }
}

/// A public key of a JWKS; what it is decides the algorithm.
struct PublicKey {
    id: Option<String>,
    kind: Kind,
}

enum Kind {
    Rsa(Box<rsa::VerifyingKey>),
    P256(Box<ecdsa::VerifyingKey<ecdsa::P256>>),
}

impl PublicKey {
    fn algorithm(&self) -> Algorithm {
        match self.kind {
            Kind::Rsa(_) => Algorithm::Rs256,
            Kind::P256(_) => Algorithm::Es256,
        }
    }

    fn has_signed(&self, signed: &str, signature: &[u8]) -> bool {
        match &self.kind {
            Kind::Rsa(key) => key.verify_pkcs1_sha256(signature, signed.as_bytes()),
            Kind::P256(key) => key.verify::<Sha256>(&[signed.as_bytes()], signature),
        }
        .is_ok()
    }
}

/// The public keys of a JSON Web Key Set (RFC 7517) that can check RS256 or ES256.
#[derive(Clone)]
pub(super) struct Jwks {
    keys: Arc<[PublicKey]>,
    /// When the file was written that they are of.
    written: Option<SystemTime>,
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwks({} keys)", self.keys.len())
    }
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum JwksError {
    #[error("it cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("it is longer than {MAX_FILE_BYTES} bytes")]
    TooLong,
    #[error("it is no JSON Web Key Set, an object with a list \"keys\": {0}")]
    Json(#[from] serde_json::Error),
    #[error(
        "it has no key that can be used: an RSA key of 2048 to 8192 bits, or one on the curve P-256, \
         for signatures"
    )]
    NoKey,
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    #[error(
        "this processor lacks what checking RS256 and ES256 needs (AVX2 and ADX); use AUTH_JWT_SECRET"
    )]
    Processor,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    used_for: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwks {
    pub(super) fn of_file(file: &Path) -> Result<Self, JwksError> {
        let about = std::fs::metadata(file)?;
        if about.len() > MAX_FILE_BYTES {
            return Err(JwksError::TooLong);
        }
        let keys = Self::parse(&std::fs::read(file)?)?;
        Ok(Self {
            written: about.modified().ok(),
            ..keys
        })
    }

    pub(super) fn parse(text: &[u8]) -> Result<Self, JwksError> {
        if !graviola::util::is_cpu_supported() {
            return Err(JwksError::Processor);
        }
        let set: Set = serde_json::from_slice(text)?;
        // Keys for something else are passed over, as RFC 7517, 5 wants it.
        let keys: Vec<PublicKey> = set
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok()?.public_key())
            .collect();
        match keys.len() {
            0 => Err(JwksError::NoKey),
            1..=MAX_KEYS => Ok(Self {
                keys: keys.into(),
                written: None,
            }),
            _ => Err(JwksError::TooMany),
        }
    }
}

impl Jwk {
    fn public_key(self) -> Option<PublicKey> {
        if self.used_for.as_deref().is_some_and(|used| used != "sig") {
            return None;
        }
        let number = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
        let kind = match &*self.kty {
            "RSA" => {
                let der = pkcs1(&number(self.n)?, &number(self.e)?);
                Kind::Rsa(rsa::VerifyingKey::from_pkcs1_der(&der).ok()?.into())
            }
            "EC" if self.crv.as_deref() == Some("P-256") => {
                let point = [&[4], &*number(self.x)?, &*number(self.y)?].concat();
                let key = ecdsa::VerifyingKey::from_x962_uncompressed(&point).ok()?;
                Kind::P256(key.into())
            }
            _ => return None,
        };
        let key = PublicKey { id: self.kid, kind };
        // One that is meant for another algorithm is for no other.
        let meant = self.alg.as_deref().map(Algorithm::parse);
        meant
            .is_none_or(|meant| meant == Some(key.algorithm()))
            .then_some(key)
    }
}

/// `RSAPublicKey` in DER (RFC 8017, A.1.1).
fn pkcs1(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let content = [integer(modulus), integer(exponent)].concat();
    tagged(0x30, &content)
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|byte| *byte != 0);
    let bytes = &bytes[first.unwrap_or(bytes.len())..];
    // Zero, or a number whose first bit would make it negative.
    let sign: &[u8] = match bytes.first() {
        Some(..0x80) => &[],
        _ => &[0],
    };
    tagged(0x02, &[sign, bytes].concat())
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let first = length.iter().position(|byte| *byte != 0);
    let length = &length[first.unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        out.push(0x80 | length.len() as u8);
    }
    out.extend_from_slice(length);
    out.extend_from_slice(content);
    out
}

/// All keys of a service. The file's are read again when it has changed, so that an issuer changes its
/// keys without a restart; what cannot be read any more leaves those that were.
pub(super) struct KeyRing {
    secret: Option<SecretKey>,
    file: Option<Arc<KeyFile>>,
}

struct KeyFile {
    path: PathBuf,
    /// Held for a look at it, never while the file is read.
    keys: Mutex<Jwks>,
    /// What has been said of the file as it is.
    complaint: Mutex<Option<String>>,
}

impl KeyRing {
    pub(super) fn new(secret: Option<SecretKey>, jwks: Option<(PathBuf, Jwks)>) -> Self {
        let file = jwks.map(|(path, keys)| {
            Arc::new(KeyFile {
                path,
                keys: Mutex::new(keys),
                complaint: Mutex::default(),
            })
        });
        Self { secret, file }
    }

    /// Looks at the file every ten seconds for as long as the ring is there. Files are read on a thread of their own: a
    /// file system that does not answer keeps no request waiting, and the keys that were read before stay.
    pub(super) fn keep_fresh(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        let file = Arc::downgrade(self.file.as_ref()?);
        Some(async move {
            let mut looks = tokio::time::interval(LOOK);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                let Some(file) = file.upgrade() else { return };
                let path = file.path.clone();
                let mut look = tokio::task::spawn_blocking(move || file.look());
                if tokio::time::timeout(LOOK, &mut look).await.is_err() {
                    tracing::warn!(
                        "AUTH_JWKS_FILE {}: reading it has taken longer than {LOOK:?}; the keys that were read before stay",
                        path.display()
                    );
                    // It does not panic, and an end of the runtime is the end of this, too.
                    let _ = look.await;
                }
            }
        })
    }

    /// Whether a key of this very algorithm has made the signature. A key's id only chooses among keys.
    pub(super) fn verify(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        signed: &str,
        signature: &[u8],
    ) -> Result<(), TokenError> {
        let good = |good: bool| match good {
            true => Ok(()),
            false => Err(TokenError::Signature),
        };
        if algorithm == Algorithm::Hs256 {
            let secret = self.secret.as_ref().ok_or(TokenError::Algorithm)?;
            return good(secret.has_signed(signed, signature));
        }
        let file = self.file.as_ref().ok_or(TokenError::Algorithm)?;
        let keys = file.keys.lock().keys.clone();
        let candidates = keys.iter().filter(|key| {
            let named = match (id, &key.id) {
                (Some(id), Some(of_key)) => id == of_key,
                _ => true,
            };
            named && key.algorithm() == algorithm
        });
        let mut candidates = candidates.peekable();
        if candidates.peek().is_none() && !keys.iter().any(|key| key.algorithm() == algorithm) {
            return Err(TokenError::Algorithm);
        }
        good(candidates.any(|key| key.has_signed(signed, signature)))
    }
}

impl KeyFile {
    /// Reads the file, if it has changed or could not be read the last time. Blocks.
    fn look(&self) {
        let written = std::fs::metadata(&self.path).and_then(|about| about.modified());
        let known = self.keys.lock().written;
        if self.complaint.lock().is_none() && written.is_ok_and(|written| known == Some(written)) {
            return;
        }
        let read = Jwks::of_file(&self.path);
        let mut complaint = self.complaint.lock();
        match read {
            Ok(keys) => {
                tracing::info!("AUTH_JWKS_FILE has changed: {} keys", keys.keys.len());
                *self.keys.lock() = keys;
                *complaint = None;
            }
            Err(error) => {
                let error = error.to_string();
                if complaint.as_ref() != Some(&error) {
                    tracing::warn!(
                        "AUTH_JWKS_FILE {}: {error}; the keys that were read before stay",
                        self.path.display()
                    );
                    *complaint = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
impl KeyRing {
    /// As if it were time for the next look.
    pub(super) fn look_again(&self) {
        self.file.as_ref().unwrap().look();
    }
}
