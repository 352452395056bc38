//! Certificates for a test: an authority, and what it signs.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// Signs certificates, and keeps their files until it is dropped.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate with its key, as files in PEM.
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Both in one file, as Kafka's `ssl.keystore.location` wants them.
    pub keystore: PathBuf,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// One that nobody trusts yet.
    pub fn new() -> Self {
        let mut params = named(&crate::unique("authority"), &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = Self {
            issuer: CertifiedIssuer::self_signed(params, new_key()).expect("a certificate"),
            dir: TempDir::with_prefix("certificates-").expect("a folder for certificates"),
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
        let mut params = named("server", names);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// For a server, valid until some years ago.
    pub fn expired_server(&self, names: &[&str]) -> Identity {
        let mut params = named("server", names);
        params.not_after = date_time_ymd(2001, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// For a client.
    pub fn client(&self, name: &str) -> Identity {
        let mut params = named(name, &[]);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = new_key();
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("a certificate")
            .pem();
        let place = |name| self.dir.path().join(crate::unique(name));
        let identity = Identity {
            certificate: place("certificate"),
            key: place("key"),
            keystore: place("keystore"),
        };
        let key = key.serialize_pem();
        write(&identity.certificate, &certificate);
        write(&identity.key, &key);
        write(&identity.keystore, &format!("{key}{certificate}"));
        identity
    }
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

fn write(file: &Path, text: &str) {
    fs::write(file, text).expect("a file for a certificate");
}
