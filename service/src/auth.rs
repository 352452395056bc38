//! Who asks: the switch that lets a user read and change what is theirs, and nothing else.
//!
//! Off (no `AUTH_` key is set), everybody is [`Caller::Anyone`] and may do everything. On, a request
//! carries a JSON Web Token (RFC 7519) as `Authorization: Bearer`, which names the user:
//!
//! - [`Gate`]: a request to its [`Caller`], or 401. Routes ask it before anything else.
//! - [`Caller`]: what it may touch, or 403.
//! - [`AuthConfig`]: the variables; [`token`] checks a token, [`keys`] its signature.
//!
//! Who issues tokens is no part of the shop: it may be whatever shares the secret (HS256) or publishes
//! its keys as a JWKS (RS256, ES256). Passwords in the users' table are not asked here.

mod caller;
mod config;
mod gate;
mod keys;
mod token;

pub use caller::Caller;
pub use config::AuthConfig;
pub use gate::Gate;

pub(crate) use config::auth_options;
