//! TLS to PostgreSQL: what a server's certificate has to show, and what this client shows.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use crate::Error;

/// What a server's certificate has to show.
#[derive(Debug)]
pub(super) enum Check {
    /// No check: anybody may pose as the server.
    Nothing,
    /// That a trusted authority signed it, for whichever host.
    Authority(Trust),
    /// That a trusted authority signed it for the host of the URL.
    AuthorityAndName(Trust),
}

/// The certificates that are trusted.
#[derive(Debug)]
pub(super) struct Trust {
    roots: RootCertStore,
    /// Those of `sslrootcert`.
    named: Vec<CertificateDer<'static>>,
}

/// This client's certificate, and its key.
pub(super) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Encrypts connections. Clones share what it trusts and shows.
#[derive(Clone)]
pub(super) struct Tls {
    connector: MakeRustlsConnect,
    checks_name: bool,
    shows_certificate: bool,
}

impl Tls {
    /// TLS 1.3 or 1.2.
    pub(super) fn new(check: Check, identity: Option<Identity>) -> Result<Self, Error> {
        let provider = provider()?;
        let checks_name = matches!(check, Check::AuthorityAndName(_));
        let shows_certificate = identity.is_some();
        let verifier = Verifier {
            check,
            algorithms: provider.signature_verification_algorithms,
        };
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| mistake("sslmode", format!("TLS cannot be set up: {error}")))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { chain, key }) => {
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    mistake(
                        "sslkey",
                        format!("does not go with the certificate: {error}"),
                    )
                })?
            }
        };
        Ok(Self {
            connector: MakeRustlsConnect::new(config),
            checks_name,
            shows_certificate,
        })
    }

    pub(super) fn connector(&self) -> MakeRustlsConnect {
        self.connector.clone()
    }

    /// Whether the certificate has to be for the host of the URL.
    pub(super) fn checks_name(&self) -> bool {
        self.checks_name
    }

    pub(super) fn shows_certificate(&self) -> bool {
        self.shows_certificate
    }
}

impl Trust {
    /// The certificates in a PEM file, instead of the operating system's.
    pub(super) fn of_file(file: &Path) -> Result<Self, Error> {
        let named = certificates("sslrootcert", file)?;
        let mut roots = RootCertStore::empty();
        for certificate in &named {
            roots.add(certificate.clone()).map_err(|error| {
                let file = file.display();
                mistake(
                    "sslrootcert",
                    format!("{file} holds an unusable certificate: {error}"),
                )
            })?;
        }
        Ok(Self { roots, named })
    }

    /// What the operating system trusts; `SSL_CERT_FILE` and `SSL_CERT_DIR` may name another place.
    pub(super) fn of_system() -> Result<Self, Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // An old one that cannot be parsed takes nothing from the others.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(mistake(
                "sslrootcert",
                "names no file and this system has no certificates to trust; name a PEM file, or \
                 install the system's package of them (ca-certificates)",
            ));
        }
        Ok(Self {
            roots,
            named: Vec::new(),
        })
    }
}

impl Identity {
    /// PEM files: this client's certificate with those between it and an authority that the server trusts, and its
    /// private key, not encrypted.
    pub(super) fn of_files(
        certificate: Option<PathBuf>,
        key: Option<PathBuf>,
    ) -> Result<Option<Self>, Error> {
        const NEEDS_BOTH: &str =
            "is missing: a client certificate needs both its file and its key's";
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(Self {
                chain: certificates("sslcert", &certificate)?,
                key: private_key(&key)?,
            })),
            (Some(_), None) => Err(mistake("sslkey", NEEDS_BOTH)),
            (None, Some(_)) => Err(mistake("sslcert", NEEDS_BOTH)),
        }
    }
}

/// Whether there is TLS on this processor.
pub(super) fn is_available() -> bool {
    provider().is_ok()
}

/// Graviola where it serves this processor: it needs no C compiler. With the feature `ring` ring stands in for it
/// everywhere else.
fn provider() -> Result<Arc<CryptoProvider>, Error> {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if graviola::util::is_cpu_supported() {
        return Ok(Arc::new(rustls_graviola::default_provider()));
    }
    fallback()
}

#[cfg(feature = "ring")]
fn fallback() -> Result<Arc<CryptoProvider>, Error> {
    Ok(Arc::new(rustls::crypto::ring::default_provider()))
}

#[cfg(not(feature = "ring"))]
fn fallback() -> Result<Arc<CryptoProvider>, Error> {
    Err(mistake(
        "sslmode",
        "TLS is not to be had on this processor in this build (it takes an x86-64 with AES, AVX2 and ADX, \
         or an AArch64 with AES and SHA2); build with `--features sql/ring` and a C compiler",
    ))
}

/// Checks what [`Check`] says. Always checks that the server has the key of the certificate that it shows: otherwise
/// channel binding, which binds the password to the certificate, would prove nothing.
#[derive(Debug)]
struct Verifier {
    check: Check,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn check_authority(
        &self,
        trust: &Trust,
        shown: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let algorithms = self.algorithms.all;
        let found = verify_server_cert_signed_by_trust_anchor(
            parsed,
            &trust.roots,
            intermediates,
            now,
            algorithms,
        );
        match found {
            // `openssl req -x509` makes a server's certificate that is also an authority's. libpq takes it where it is
            // named itself. Its time has been checked: that is looked at first.
            Err(error) if is_authority(&error) && trust.named.iter().any(|one| one == shown) => {
                Ok(())
            }
            found => found,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Check::Authority(trust) | Check::AuthorityAndName(trust) = &self.check {
            let parsed = ParsedCertificate::try_from(shown)?;
            self.check_authority(trust, shown, &parsed, intermediates, now)?;
            if let Check::AuthorityAndName(_) = self.check {
                verify_server_name(&parsed, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, shown, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match verify_tls13_signature(message, shown, signed, &self.algorithms) {
            // Of such a certificate rustls does not even take the key.
            Err(error) if is_of_version_1(&error) && matches!(self.check, Check::Nothing) => {
                let key = public_key(shown).ok_or(error)?;
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
            verified => verified,
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a server shows an authority's certificate.
fn is_authority(error: &rustls::Error) -> bool {
    is_other(error, "CaUsedAsEndEntity")
}

/// Whether a server shows a certificate of X.509 version 1, as PostgreSQL's manual makes them.
fn is_of_version_1(error: &rustls::Error) -> bool {
    is_other(error, "UnsupportedCertVersion")
}

/// rustls has no names of its own for these problems.
fn is_other(error: &rustls::Error, problem: &str) -> bool {
    matches!(
        error,
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string() == problem
    )
}

fn public_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let key = certificate.tbs_certificate.subject_public_key_info;
    Some(key.to_der().ok()?.into())
}

/// Why TLS failed, as said of the server ("its certificate …"); `shows_certificate`: this client has one of its own.
pub(super) fn refusal(error: &rustls::Error, shows_certificate: bool) -> String {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(_) if is_authority(error) => {
            "its certificate is that of an authority and not named in sslrootcert itself; name it there, or give the \
             server a certificate with CA:FALSE"
                .to_owned()
        }
        Tls::InvalidCertificate(_) if is_of_version_1(error) => {
            "its certificate is of version 1 of X.509 and has no names; give the server one of version 3, with its \
             names as subject alternative names (openssl x509 -extfile)"
                .to_owned()
        }
        Tls::InvalidCertificate(problem) => certificate_problem(problem),
        Tls::AlertReceived(alert) if is_about_client_certificate(*alert) => {
            if shows_certificate {
                format!(
                    "it does not accept this client's certificate ({alert:?}); name one that it trusts in sslcert"
                )
            } else {
                "it wants a certificate of this client, which has none; set sslcert and sslkey"
                    .to_owned()
            }
        }
        // The first bytes were no TLS record.
        Tls::InvalidMessage(_) => {
            "it offered TLS, and does not speak it".to_owned()
        }
        Tls::AlertReceived(alert) => format!("TLS failed: the server ended it ({alert:?})"),
        other => format!("TLS failed: {other}"),
    }
}

fn certificate_problem(problem: &CertificateError) -> String {
    match problem {
        CertificateError::UnknownIssuer => {
            "its certificate is signed by nobody that this client trusts; name the certificate of the authority that \
             signed it in sslrootcert"
                .to_owned()
        }
        // Another authority of the same name has signed it: one that was made again, say.
        CertificateError::BadSignature => {
            "its certificate is signed by nobody that this client trusts, or with another key than the one that this \
             client trusts; name the certificate of the authority that signed it in sslrootcert"
                .to_owned()
        }
        CertificateError::NotValidForName => other_names(&[]),
        CertificateError::NotValidForNameContext { presented, .. } => other_names(presented),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate is not valid: it has expired (or this machine's clock is wrong)".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid: it is not valid yet (or this machine's clock is wrong)"
                .to_owned()
        }
        other => format!("its certificate is not valid: {other}"),
    }
}

fn other_names(names: &[String]) -> String {
    let names = match names {
        [] => "none (subject alternative names; a common name does not count)".to_owned(),
        names => names
            .iter()
            .map(|name| bare(name))
            .collect::<Vec<_>>()
            .join(", "),
    };
    format!(
        "its certificate is not for this host but for {names}; connect by a name that it has, or give the server a \
         certificate with this one"
    )
}

/// What rustls writes as `DnsName("db.example")`.
fn bare(name: &str) -> &str {
    let inner = name
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"')
}

/// What servers send when the client's certificate is missing or not to their liking.
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
            // Signed by another authority of the same name.
            | AlertDescription::DecryptError
    )
}

fn certificates(
    parameter: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(parameter, file, &error))?;
    if certificates.is_empty() {
        return Err(unreadable(parameter, file, &pem::Error::NoItemsFound));
    }
    Ok(certificates)
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_file(file).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let file = file.display();
            mistake(
                "sslkey",
                format!("{file} holds no private key in PEM that is not encrypted"),
            )
        }
        error => unreadable("sslkey", file, &error),
    })
}

fn unreadable(parameter: &'static str, file: &Path, error: &pem::Error) -> Error {
    let file = file.display();
    let problem = match error {
        pem::Error::Io(error) => format!("{file} cannot be read: {error}"),
        pem::Error::NoItemsFound => format!("{file} holds no certificate in PEM"),
        _ => format!("{file} is not well-formed PEM"),
    };
    mistake(parameter, problem)
}

/// A parameter of the URL that cannot be used.
pub(super) fn mistake(parameter: &str, problem: impl fmt::Display) -> Error {
    Error::Configuration(format!("{parameter}: {problem}"))
}
