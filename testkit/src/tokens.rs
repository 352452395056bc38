//! Bearer tokens as an issuer makes them that shares `AUTH_JWT_SECRET` with the services.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::http::{self, Answer};

/// For `AUTH_JWT_SECRET`.
pub const SECRET: &str = "a secret of tests, which is long enough";

/// `Bearer` and a token that names `user`, valid until 2100.
pub fn bearer(user: &str) -> String {
    signed_with(SECRET, user)
}

/// The same with another secret.
pub fn signed_with(secret: &str, user: &str) -> String {
    let claims = format!(r#"{{"sub":"{user}","exp":4102444800}}"#);
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(signed.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("Bearer {signed}.{signature}")
}

/// A request by `user`.
pub async fn as_user(
    address: SocketAddr,
    user: &str,
    method: &str,
    path: &str,
    body: &str,
) -> Answer {
    with(address, Some(&bearer(user)), method, path, body).await
}

/// What the owner is answered, once it is certain that nobody else is answered: 401 without a token and
/// with one that somebody else has signed, 403 with another user's.
///
/// # Panics
/// When somebody else is.
pub async fn owners_alone(
    address: SocketAddr,
    owner: &str,
    method: &str,
    path: &str,
    body: &str,
) -> Answer {
    let forged = signed_with("a secret that the service does not have", owner);
    for token in [None, Some(&*forged), Some("Bearer x"), Some("Basic YTpi")] {
        let answer = with(address, token, method, path, body).await;
        assert_eq!(
            answer.status, 401,
            "{method} {path} with {token:?}: {answer:?}"
        );
        assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
    let other = format!("{owner}0");
    let answer = as_user(address, &other, method, path, body).await;
    assert_eq!(answer.status, 403, "{method} {path} as {other}: {answer:?}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    as_user(address, owner, method, path, body).await
}

async fn with(
    address: SocketAddr,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &str,
) -> Answer {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(token.map(|token| ("authorization", token)));
    http::request(address, method, path, &headers, body).await
}
