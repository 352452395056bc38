use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::caller::Caller;
use super::config::AuthConfig;
use super::keys::KeyRing;
use super::token::{self, Expected};
use crate::http::{Problem, Request, StatusCode};

/// Asks a request who makes it. Clones share the keys.
#[derive(Clone, Default)]
pub struct Gate(Option<Arc<Inner>>);

struct Inner {
    keys: KeyRing,
    expected: Expected,
    /// SHA-256 of the token of the shop's services: of one length whatever is compared with it.
    service_token: Option<[u8; 32]>,
}

impl Gate {
    /// The gate that the configuration asks for; without a key, one that stands open.
    ///
    /// # Panics
    /// With a file of keys outside of a Tokio runtime, where nobody would look at it again.
    pub fn new(config: &AuthConfig) -> Self {
        if !config.is_on() {
            return Self(None);
        }
        let service_token = config.service_token.as_ref();
        let keys = KeyRing::new(config.secret.clone(), config.jwks.clone());
        if let Some(fresh) = keys.keep_fresh() {
            tokio::spawn(fresh);
        }
        Self(Some(Arc::new(Inner {
            keys,
            expected: config.expected.clone(),
            service_token: service_token.map(|token| Sha256::digest(token.expose()).into()),
        })))
    }

    /// Whether users have to say who they are.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Who makes the request.
    ///
    /// # Errors
    /// 401 without a valid token, where one is wanted.
    pub fn caller(&self, request: &Request) -> Result<Caller, Problem> {
        let Some(inner) = &self.0 else {
            return Ok(Caller::Anyone);
        };
        let Some(given) = request.headers().get(AUTHORIZATION) else {
            return Err(unauthorized(
                "this needs a token that names the user (Authorization: Bearer)",
                r#"Bearer realm="shop""#,
            ));
        };
        let refused = |why: &str| {
            unauthorized(
                format!("the bearer token is not valid: {why}"),
                r#"Bearer realm="shop", error="invalid_token""#,
            )
        };
        let token = given.to_str().ok().and_then(|given| {
            let (scheme, token) = given.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let Some(token) = token else {
            return Err(refused("the Authorization is not of the scheme Bearer"));
        };
        if let Some(known) = &inner.service_token
            && bool::from(Sha256::digest(token)[..].ct_eq(known))
        {
            return Ok(Caller::Operator);
        }
        token::user(token, &inner.keys, &inner.expected, proto::now_millis())
            .map(Caller::User)
            .map_err(|error| refused(&error.to_string()))
    }
}

fn unauthorized(
    detail: impl Into<std::borrow::Cow<'static, str>>,
    challenge: &'static str,
) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
