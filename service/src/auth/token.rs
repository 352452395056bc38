//! A JSON Web Token in its compact form (RFC 7515, 7519), by the recommendations of RFC 8725: the key
//! decides the algorithm, and a token whose header says another is refused before its signature is
//! looked at.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::{Algorithm, KeyRing};

/// How far the clocks of issuer and service may differ: as most libraries allow.
const LEEWAY_MS: f64 = 60_000.0;

/// What a token must say, beside being signed and in time.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) user_claim: String,
}

/// Why a token is refused. Told to the client: nothing of the token, nor of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("it is no signed JSON Web Token (header.payload.signature, each in base64url)")]
    Malformed,
    #[error("its algorithm is none that this service has a key for (HS256, RS256, ES256)")]
    Algorithm,
    #[error("its header has critical extensions (crit), which this service does not know")]
    Critical,
    #[error("no known key has made its signature")]
    Signature,
    #[error("it does not say until when it is valid (exp, in seconds)")]
    Endless,
    #[error("it has expired (exp)")]
    Expired,
    #[error("it is not valid yet (nbf)")]
    Early,
    #[error("it is of another issuer (iss)")]
    Issuer,
    #[error("it is for another audience (aud)")]
    Audience,
    #[error("its claim {0} holds no user id: text or whole number, 1 to 128 printable characters")]
    User(String),
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// The user that a valid token names. `now` in milliseconds since 1970.
pub(super) fn user(
    token: &str,
    keys: &KeyRing,
    expected: &Expected,
    now: i64,
) -> Result<String, TokenError> {
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let header: Header = decoded(header)?;
    if header.crit.is_some() {
        return Err(TokenError::Critical);
    }
    let algorithm = Algorithm::parse(&header.alg).ok_or(TokenError::Algorithm)?;
    let signature = bytes(signature)?;
    keys.verify(algorithm, header.kid.as_deref(), signed, &signature)?;
    // Nothing of it was believed before.
    let claims: Map<String, Value> = decoded(payload)?;
    in_time(&claims, now as f64)?;
    meant_for_us(&claims, expected)?;
    named(&claims, &expected.user_claim)
}

fn bytes(text: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| TokenError::Malformed)
}

fn decoded<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, TokenError> {
    serde_json::from_slice(&bytes(part)?).map_err(|_| TokenError::Malformed)
}

fn in_time(claims: &Map<String, Value>, now: f64) -> Result<(), TokenError> {
    // Seconds, perhaps with a fraction (RFC 7519, NumericDate).
    let millis = |claim: &Value| claim.as_f64().map(|seconds| seconds * 1_000.0);
    match claims.get("exp").and_then(millis) {
        None => return Err(TokenError::Endless),
        Some(end) if now >= end + LEEWAY_MS => return Err(TokenError::Expired),
        Some(_) => {}
    }
    match claims.get("nbf").map(millis) {
        None => Ok(()),
        Some(Some(begin)) if now + LEEWAY_MS >= begin => Ok(()),
        Some(_) => Err(TokenError::Early),
    }
}

fn meant_for_us(claims: &Map<String, Value>, expected: &Expected) -> Result<(), TokenError> {
    if let Some(issuer) = &expected.issuer
        && claims.get("iss").and_then(Value::as_str) != Some(issuer)
    {
        return Err(TokenError::Issuer);
    }
    if let Some(audience) = &expected.audience {
        let is_ours = |value: &Value| value.as_str() == Some(audience);
        let ours = match claims.get("aud") {
            Some(Value::Array(list)) => list.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => false,
        };
        if !ours {
            return Err(TokenError::Audience);
        }
    }
    Ok(())
}

fn named(claims: &Map<String, Value>, claim: &str) -> Result<String, TokenError> {
    let user = match claims.get(claim) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    };
    // The rule for a user's id everywhere else.
    user.filter(|user| proto::order_id::check(user).is_ok())
        .ok_or_else(|| TokenError::User(claim.to_owned()))
}

#[cfg(test)]
mod tests;
