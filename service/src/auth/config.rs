use std::path::PathBuf;

use super::keys::{Jwks, MIN_SECRET_BYTES, SecretKey};
use super::token::Expected;
use crate::config::{Opt, Secret, Values, group::HTTP};

const SECRET: &str = "AUTH_JWT_SECRET";
const JWKS_FILE: &str = "AUTH_JWKS_FILE";
const ISSUER: &str = "AUTH_JWT_ISSUER";
const AUDIENCE: &str = "AUTH_JWT_AUDIENCE";
const USER_CLAIM: &str = "AUTH_USER_CLAIM";
const SERVICE_TOKEN: &str = "AUTH_SERVICE_TOKEN";

/// The switch for user identity; off where neither a secret nor a JWKS file is set.
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    pub(super) secret: Option<SecretKey>,
    pub(super) jwks: Option<(PathBuf, Jwks)>,
    pub(super) expected: Expected,
    /// By which the services of a shop know each other; they ask as operators.
    pub service_token: Option<Secret>,
}

pub(crate) fn auth_options() -> [Opt; 6] {
    [
        Opt::unset(
            SECRET,
            HTTP,
            "Key of bearer tokens signed with HS256, at least 32 bytes. Set (or AUTH_JWKS_FILE), every \
             route with a user's data wants a token that names this user: 401 without, 403 with \
             another's.",
        )
        .secret(),
        Opt::unset(
            JWKS_FILE,
            HTTP,
            "File of public keys (JWKS) of bearer tokens signed with RS256 or ES256. Read again when it \
             changes.",
        ),
        Opt::unset(ISSUER, HTTP, "What a token must have as iss; unset, anything."),
        Opt::unset(
            AUDIENCE,
            HTTP,
            "What a token must have as aud, or among its auds; unset, anything.",
        ),
        Opt::new(
            USER_CLAIM,
            "sub",
            HTTP,
            "The claim of a token that holds the user's id, as text or whole number.",
        ),
        Opt::unset(
            SERVICE_TOKEN,
            HTTP,
            "Bearer token by which the services of one shop ask each other, at least 32 bytes; it opens \
             every user's data. Needed for producer-svc to see carts while user identity is on.",
        )
        .secret(),
    ]
}

impl AuthConfig {
    /// Reads the variables, and the file that they name; mistakes are noted in `values`.
    pub(crate) fn read(values: &mut Values) -> Self {
        let secret = values.find::<Secret>(SECRET).and_then(|secret| {
            let key = SecretKey::new(secret.expose());
            if key.is_none() {
                let short = format!("must have at least {MIN_SECRET_BYTES} bytes (RFC 7518, 3.2)");
                values.mistake(SECRET, short);
            }
            key
        });
        let jwks = values.find::<String>(JWKS_FILE).and_then(|file| {
            let file = PathBuf::from(file);
            match Jwks::of_file(&file) {
                Ok(keys) => Some((file, keys)),
                Err(error) => {
                    values.mistake(JWKS_FILE, format!("names {}: {error}", file.display()));
                    None
                }
            }
        });
        let service_token = values.find::<Secret>(SERVICE_TOKEN);
        if service_token.as_ref().is_some_and(|token| {
            let token = token.expose();
            token.len() < MIN_SECRET_BYTES || !token.bytes().all(|byte| byte.is_ascii_graphic())
        }) {
            let expected = format!(
                "must have at least {MIN_SECRET_BYTES} characters, all of them visible ASCII ones"
            );
            values.mistake(SERVICE_TOKEN, expected);
        }
        let on = values.is_given(SECRET) || values.is_given(JWKS_FILE);
        for variable in [ISSUER, AUDIENCE, USER_CLAIM, SERVICE_TOKEN] {
            if !on && values.is_given(variable) {
                values.mistake(
                    variable,
                    "has no effect without AUTH_JWT_SECRET or AUTH_JWKS_FILE",
                );
            }
        }
        let user_claim: String = values.get(USER_CLAIM);
        Self {
            secret,
            jwks,
            expected: Expected {
                issuer: values.find(ISSUER),
                audience: values.find(AUDIENCE),
                user_claim,
            },
            service_token,
        }
    }

    /// Whether users have to say who they are.
    pub fn is_on(&self) -> bool {
        self.secret.is_some() || self.jwks.is_some()
    }
}
