//! Why broker and client do not accept each other.

use std::{fmt, sync::Arc};

use rustls::{AlertDescription, CertificateError};

use super::SaslMechanism;

/// Why broker and client do not accept each other although they reach each other: what trying the
/// same again does not change, until somebody changes a setting here or there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No chain from the broker's certificate to one that is trusted.
    #[error(
        "its certificate is signed by nobody that this client trusts; trust the certificate of the \
         authority that signed it"
    )]
    UntrustedCertificate,

    /// The broker's certificate is another host's.
    #[error(
        "its certificate is not for {host} but for {}; connect by a name that it has, or give the \
         broker a certificate with this one",
        Names(names)
    )]
    HostName {
        /// The host that was connected to.
        host: Arc<str>,
        /// The names in the certificate (subject alternative names; a common name does not count).
        names: Vec<String>,
    },

    /// The broker's certificate is not valid for another reason: expired, say.
    #[error("its certificate is not valid: {problem}")]
    Certificate {
        /// What is wrong.
        problem: Arc<str>,
    },

    /// The broker asks for a certificate of this client, which has none to show.
    #[error("it wants a certificate of this client, which has none; give certificate and key")]
    NoClientCertificate,

    /// The broker does not accept this client's certificate.
    #[error("it does not accept this client's certificate ({alert}); one that it trusts is needed")]
    ClientCertificate {
        /// TLS's name for the reason.
        alert: Arc<str>,
    },

    /// What answers does not speak TLS.
    #[error(
        "it does not speak TLS on this port; connect without TLS, or to the port of a listener with TLS"
    )]
    NoTls,

    /// What answers speaks TLS, and this client does not.
    #[error("it speaks TLS on this port; connect with TLS, or to the port of a listener without")]
    OnlyTls,

    /// TLS failed otherwise: no common version or cipher, say.
    #[error("TLS failed: {problem}")]
    Tls {
        /// What is wrong.
        problem: Arc<str>,
    },

    /// The listener knows no SASL.
    #[error(
        "it takes no name and password on this port; connect without SASL, or to the port of a \
         listener with SASL"
    )]
    NoSasl,

    /// The broker closed the connection instead of answering in TLS, as listeners without TLS do.
    /// One that is starting or stopping may do the same.
    #[error(
        "it closed the connection during the TLS handshake, as a listener without TLS does; connect \
         without TLS, or to the port of a listener with TLS"
    )]
    ClosedInTls,

    /// The broker does not offer this mechanism.
    #[error(
        "it does not offer {mechanism}, but {}; choose one of them",
        Names(offered)
    )]
    Mechanism {
        /// The one asked for.
        mechanism: SaslMechanism,
        /// Those that the broker offers.
        offered: Vec<String>,
    },

    /// Unknown name, or wrong password: brokers do not say which.
    #[error("it refused name or password ({mechanism}){}", Explained(message.as_deref()))]
    Credentials {
        /// How the password was shown.
        mechanism: SaslMechanism,
        /// The broker's words.
        message: Option<Arc<str>>,
    },

    /// The exchange went wrong, or the broker did not prove that it knows the password.
    #[error("{mechanism} failed: {problem}")]
    Sasl {
        /// The mechanism.
        mechanism: SaslMechanism,
        /// What is wrong.
        problem: Arc<str>,
    },
}

impl Refusal {
    /// Whether nothing else explains it: a broker that is going away may hang up for no other reason.
    pub(crate) fn is_certain(&self) -> bool {
        !matches!(self, Self::ClosedInTls)
    }

    /// Why TLS failed with `host`; `shows_certificate`: this client has one of its own.
    pub(crate) fn from_tls(error: &rustls::Error, host: &str, shows_certificate: bool) -> Self {
        use rustls::Error as Tls;
        match error {
            Tls::InvalidCertificate(problem) => Self::from_certificate(problem, host),
            Tls::AlertReceived(alert) if is_about_client_certificate(*alert) => {
                if shows_certificate {
                    Self::ClientCertificate {
                        alert: format!("{alert:?}").into(),
                    }
                } else {
                    Self::NoClientCertificate
                }
            }
            // The first bytes were no TLS record.
            Tls::InvalidMessage(_) => Self::NoTls,
            Tls::AlertReceived(alert) => Self::Tls {
                problem: format!("the broker ended it ({alert:?})").into(),
            },
            other => Self::Tls {
                problem: other.to_string().into(),
            },
        }
    }

    fn from_certificate(problem: &CertificateError, host: &str) -> Self {
        let problem = match problem {
            CertificateError::UnknownIssuer => return Self::UntrustedCertificate,
            CertificateError::NotValidForName => {
                return Self::HostName {
                    host: host.into(),
                    names: Vec::new(),
                };
            }
            CertificateError::NotValidForNameContext { presented, .. } => {
                return Self::HostName {
                    host: host.into(),
                    names: presented.clone(),
                };
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "it has expired (or this machine's clock is wrong)".to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "it is not valid yet (or this machine's clock is wrong)".to_owned()
            }
            other => other.to_string(),
        };
        Self::Certificate {
            problem: problem.into(),
        }
    }
}

/// What servers send when the client's certificate is missing or not to their liking. Java's sends
/// `bad_certificate` for a missing one, and `certificate_unknown` for one that it does not trust.
fn is_about_client_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    )
}

struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("none")
        } else {
            f.write_str(&self.0.join(", "))
        }
    }
}

struct Explained<'a>(Option<&'a str>);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |text| write!(f, ": {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_about_a_certificate_depends_on_whether_one_was_shown() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(
            Refusal::from_tls(&alert, "kafka", false),
            Refusal::NoClientCertificate
        );
        let text = Refusal::from_tls(&alert, "kafka", true).to_string();
        assert!(text.contains("CertificateRequired"), "{text}");
    }

    #[test]
    fn a_certificate_without_names_says_so() {
        let error = rustls::Error::InvalidCertificate(CertificateError::NotValidForName);
        let text = Refusal::from_tls(&error, "kafka", false).to_string();
        assert!(text.contains("not for kafka but for none"), "{text}");
    }
}
