//! How connections are protected and who this client says it is.
//!
//! `tls` holds what is trusted and shown, `provider` the cryptography under it; `sasl` the user, with
//! `exchange` and `scram` as state machines without I/O; `refusal` says why a broker cannot be used.

mod exchange;
mod provider;
mod refusal;
mod sasl;
mod scram;
mod tls;

pub(crate) use self::exchange::{Exchange, Step};
#[cfg(any(test, fuzzing))]
pub(crate) use self::scram::{Hash as ScramHash, server::Server as ScramServer};
pub use self::{
    refusal::Refusal,
    sasl::{Sasl, SaslMechanism, UnknownSaslMechanism},
    tls::{Tls, TlsBuilder},
};

/// How connections are protected and who this client says it is, on every connection alike. The
/// default is neither: Kafka's `PLAINTEXT`.
///
/// | Kafka's `security.protocol` | `tls` | `sasl` |
/// |---|---|---|
/// | `PLAINTEXT` | | |
/// | `SSL` | set | |
/// | `SASL_PLAINTEXT` | | set |
/// | `SASL_SSL` | set | set |
#[derive(Debug, Clone, Default)]
pub struct Security {
    /// Encryption, and the broker's certificate checked.
    pub tls: Option<Tls>,
    /// The user that this client is. With [`SaslMechanism::Plain`] and without `tls` the password
    /// crosses the network readable.
    pub sasl: Option<Sasl>,
}
