//! What TLS trusts and shows.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};

use super::provider::provider;
use crate::error::ConfigError;

/// What TLS trusts and shows: TLS 1.3 or 1.2, the broker's certificate and host name always checked.
/// Clones share it.
#[derive(Clone)]
pub struct Tls {
    config: Arc<rustls::ClientConfig>,
    shows_certificate: bool,
}

/// Where the certificates are.
#[derive(Debug, Clone, Default)]
pub struct TlsBuilder {
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Tls {
    /// Trusts what the operating system trusts and shows no certificate, unless told otherwise.
    pub fn builder() -> TlsBuilder {
        TlsBuilder::default()
    }

    pub(crate) fn config(&self) -> &Arc<rustls::ClientConfig> {
        &self.config
    }

    pub(crate) fn shows_certificate(&self) -> bool {
        self.shows_certificate
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("shows_certificate", &self.shows_certificate)
            .finish_non_exhaustive()
    }
}

impl TlsBuilder {
    /// PEM file with the certificates to trust, instead of the operating system's (librdkafka
    /// `ssl.ca.location`).
    #[must_use]
    pub fn ca_location(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// PEM file with this client's certificate, and those between it and an authority that the
    /// broker trusts (librdkafka `ssl.certificate.location`). Needs [`TlsBuilder::key_location`].
    #[must_use]
    pub fn certificate_location(mut self, file: impl Into<PathBuf>) -> Self {
        self.certificate = Some(file.into());
        self
    }

    /// PEM file with this client's private key, not encrypted (librdkafka `ssl.key.location`).
    #[must_use]
    pub fn key_location(mut self, file: impl Into<PathBuf>) -> Self {
        self.key = Some(file.into());
        self
    }

    /// Reads the files, once: a renewed certificate needs a new client.
    ///
    /// # Errors
    /// Every file that cannot be read or does not hold what it should, a certificate without its
    /// key or the other way round, no certificates to trust, or a processor that TLS cannot be had
    /// on.
    pub fn build(&self) -> Result<Tls, Vec<ConfigError>> {
        let mut mistakes = Vec::new();
        let mut note = |mistake: ConfigError| mistakes.push(mistake);
        let provider = provider().map_err(&mut note).ok();
        let roots = match &self.ca {
            Some(file) => roots_in(file),
            None => system_roots(),
        };
        let roots = roots.map_err(&mut note).ok();
        let identity = match (&self.certificate, &self.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                let chain = certificates("certificate_location", certificate).map_err(&mut note);
                let key = private_key(key).map_err(&mut note);
                chain.ok().zip(key.ok())
            }
            (Some(_), None) => {
                note(ConfigError::new("key_location", NEEDS_BOTH));
                None
            }
            (None, Some(_)) => {
                note(ConfigError::new("certificate_location", NEEDS_BOTH));
                None
            }
        };
        let (Some(provider), Some(roots), true) = (provider, roots, mistakes.is_empty()) else {
            return Err(mistakes);
        };
        let shows_certificate = identity.is_some();
        let unusable = |setting, problem| {
            move |error: rustls::Error| {
                vec![ConfigError::new(setting, format!("{problem}: {error}"))]
            }
        };
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable("tls", "cannot be set up"))?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(unusable("key_location", "does not go with the certificate"))?,
        };
        Ok(Tls {
            config: Arc::new(config),
            shows_certificate,
        })
    }
}

const NEEDS_BOTH: &str = "is missing: a client certificate needs both its file and its key's";

fn roots_in(file: &Path) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca_location", file)? {
        roots.add(certificate).map_err(|error| {
            ConfigError::new(
                "ca_location",
                format!("{} holds an unusable certificate: {error}", file.display()),
            )
        })?;
    }
    Ok(roots)
}

/// What the operating system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` may name another place.
fn system_roots() -> Result<RootCertStore, ConfigError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // An old one that cannot be parsed takes nothing from the others.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(ConfigError::new(
            "ca_location",
            "is not set and this system has no certificates to trust; name a PEM file, or install \
             the system's package of them (ca-certificates)",
        ));
    }
    Ok(roots)
}

fn certificates(
    setting: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(setting, file, &error))?;
    if certificates.is_empty() {
        return Err(unreadable(setting, file, &pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| match error {
        pem::Error::NoItemsFound => ConfigError::new(
            "key_location",
            format!(
                "{} holds no private key in PEM that is not encrypted",
                file.display()
            ),
        ),
        error => unreadable("key_location", file, &error),
    })
}

fn unreadable(setting: &'static str, file: &Path, error: &pem::Error) -> ConfigError {
    let file = file.display();
    let problem = match error {
        pem::Error::Io(error) => format!("{file} cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("{file} holds no certificate in PEM"),
        _ => format!("{file} is not well-formed PEM"),
    };
    ConfigError::new(setting, problem)
}

#[cfg(test)]
mod tests;
