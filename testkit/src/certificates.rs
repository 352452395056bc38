//! Certificates for a test: an authority, and what it signs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// Signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: Arc<TempDir>,
}

/// A certificate with its key, as files in PEM that are there as long as it is.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Both in one file, as Kafka's `ssl.keystore.location` wants them.
    pub keystore: PathBuf,
    _dir: Arc<TempDir>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// One that nobody trusts yet.
    pub fn new() -> Self {
        Self::named(&crate::unique("authority"))
    }

    /// The same, under this name; another of the name has another key.
    pub fn named(name: &str) -> Self {
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = Self {
            issuer: CertifiedIssuer::self_signed(params, new_key()).expect("a certificate"),
            dir: folder(),
        };
        write(&authority.ca(), &authority.issuer.pem());
        authority
    }

    /// Its own certificate's file.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// For a server at these names or addresses.
    pub fn server(&self, names: &[&str]) -> Identity {
        self.sign(&server(names))
    }

    /// For a server, valid until some years ago.
    pub fn expired_server(&self, names: &[&str]) -> Identity {
        self.sign(&expired(server(names)))
    }

    /// For a client.
    pub fn client(&self, name: &str) -> Identity {
        let mut params = named(name, &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = new_key();
        let certificate = params.signed_by(&key, &self.issuer);
        let certificate = certificate.expect("a certificate").pem();
        Identity::new(&certificate, &key, Arc::clone(&self.dir))
    }
}

impl Identity {
    /// What `openssl req -x509` makes: it signs itself and is an authority's, too.
    pub fn self_signed(names: &[&str]) -> Self {
        Self::signing_itself(named("server", names))
    }

    /// The same, valid until some years ago.
    pub fn expired_self_signed(names: &[&str]) -> Self {
        Self::signing_itself(expired(named("server", names)))
    }

    /// One of X.509 version 1, which rcgen does not make: `openssl x509 -req -signkey` without extensions did.
    pub fn of_version_1() -> Self {
        let key = KeyPair::from_pem(KEY_OF_VERSION_1).expect("a key");
        Self::new(CERTIFICATE_OF_VERSION_1, &key, folder())
    }

    fn signing_itself(mut params: CertificateParams) -> Self {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = new_key();
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self::new(&certificate, &key, folder())
    }

    fn new(certificate: &str, key: &KeyPair, dir: Arc<TempDir>) -> Self {
        let [certificate_file, key_file, keystore] =
            ["certificate", "key", "keystore"].map(|name| dir.path().join(crate::unique(name)));
        let identity = Self {
            certificate: certificate_file,
            key: key_file,
            keystore,
            _dir: dir,
        };
        let key = key.serialize_pem();
        write(&identity.certificate, certificate);
        write(&identity.key, &key);
        write(&identity.keystore, &format!("{key}{certificate}"));
        identity
    }
}

fn server(names: &[&str]) -> CertificateParams {
    let mut params = named("server", names);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_after = date_time_ymd(2001, 1, 1);
    params
}

fn named(name: &str, alternatives: &[&str]) -> CertificateParams {
    let alternatives: Vec<_> = alternatives.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(alternatives).expect("names for a certificate");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2000, 1, 1);
    params
}

fn new_key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn folder() -> Arc<TempDir> {
    let folder = TempDir::with_prefix("certificates-");
    Arc::new(folder.expect("a folder for certificates"))
}

fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("a file for a certificate");
}

/// For nobody but these tests.
const CERTIFICATE_OF_VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBJDCBywIUYJFKgmdJGhp7l2+Z0V+wMDIb6O4wCgYIKoZIzj0EAwIwFDESMBAG\n\
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyOTE0NTczNFoYDzIxMjYxMTA1MTQ1NzM0\n\
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n\
AATy7QKTvLJD0PmF1YX2sApI1R5RiiWr6psDeQ5nA7wke0X0cOejbmPm+6wi1M6Q\n\
ks2la0r9CM3uFskYSUkFaQtuMAoGCCqGSM49BAMCA0gAMEUCIAu9g0GjiSJRN+Fg\n\
GbQdYJ1tWrx5Z3Gk3HCHT+N1TzQ8AiEA2/URtyctu9lQ15+9zQg5ak6Yd3yTTUm6\n\
o917VQb7R9g=\n\
-----END CERTIFICATE-----\n\
";

const KEY_OF_VERSION_1: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgPTQ7UycNo9sbBWL6\n\
pLTyd8aerbC8Fdwejvh6AMtfKjihRANCAATy7QKTvLJD0PmF1YX2sApI1R5RiiWr\n\
6psDeQ5nA7wke0X0cOejbmPm+6wi1M6Qks2la0r9CM3uFskYSUkFaQtu\n\
-----END PRIVATE KEY-----\n\
";
