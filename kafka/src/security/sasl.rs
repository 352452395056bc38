//! Who this client says it is.

use std::{fmt, str::FromStr, sync::Arc};

use crate::error::ConfigError;

/// How the password is shown to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SaslMechanism {
    /// RFC 4616: as it is. For use with TLS.
    Plain,
    /// RFC 7677: proven without being sent, and the broker proves that it knows it, too.
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
}

impl SaslMechanism {
    /// Its registered name, as in Kafka's `sasl.mechanism`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A mechanism that this client does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown SASL mechanism {0:?}; known are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512")]
pub struct UnknownSaslMechanism(pub String);

impl FromStr for SaslMechanism {
    type Err = UnknownSaslMechanism;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Plain, Self::ScramSha256, Self::ScramSha512]
            .into_iter()
            .find(|mechanism| mechanism.name() == name)
            .ok_or_else(|| UnknownSaslMechanism(name.to_owned()))
    }
}

/// A user with its password. `Debug` does not show the password.
#[derive(Clone)]
pub struct Sasl {
    mechanism: SaslMechanism,
    username: Arc<str>,
    password: Arc<str>,
}

impl Sasl {
    /// Name and password go out as they are, in UTF-8. RFC 5802 would have them normalised
    /// (SASLprep), but Kafka's brokers hash what was typed, so that normalising would lock out
    /// those whose password it changes. What SASLprep forbids for good reason is refused here.
    ///
    /// # Errors
    /// Name or password is empty or holds a control character, such as the line end of the file it
    /// was read from.
    pub fn new(
        mechanism: SaslMechanism,
        username: &str,
        password: &str,
    ) -> Result<Self, ConfigError> {
        check("username", username)?;
        check("password", password)?;
        Ok(Self {
            mechanism,
            username: username.into(),
            password: password.into(),
        })
    }

    /// How the password is shown to the broker.
    pub fn mechanism(&self) -> SaslMechanism {
        self.mechanism
    }

    pub(super) fn username(&self) -> &str {
        &self.username
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

fn check(setting: &'static str, text: &str) -> Result<(), ConfigError> {
    if text.is_empty() {
        return Err(ConfigError::new(setting, "is empty"));
    }
    if text.contains(char::is_control) {
        return Err(ConfigError::new(
            setting,
            "holds a control character, such as a line end; remove it",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_go_by_their_registered_names() {
        for name in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            assert_eq!(name.parse::<SaslMechanism>().unwrap().name(), name);
        }
        let error = "GSSAPI".parse::<SaslMechanism>().unwrap_err().to_string();
        assert!(error.contains("GSSAPI") && error.contains("SCRAM-SHA-512"));
    }

    #[test]
    fn the_password_does_not_print() {
        let sasl = Sasl::new(SaslMechanism::Plain, "shop", "hunter2").unwrap();
        let text = format!("{sasl:?}");
        assert!(text.contains("shop") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn empty_names_and_control_characters_are_refused_without_being_shown() {
        for (username, password, setting) in [
            ("", "p", "username"),
            ("u\0", "p", "username"),
            ("u", "", "password"),
            ("u", "hunter2\n", "password"),
            ("u", "hunter2\u{85}", "password"),
        ] {
            let error = Sasl::new(SaslMechanism::Plain, username, password).unwrap_err();
            assert_eq!(error.setting, setting);
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(Sasl::new(SaslMechanism::ScramSha256, "кот,=", "пароль ﬁ").is_ok());
    }
}
