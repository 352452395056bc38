//! Somebody between client and server who reads along: ends TLS of the client with a certificate of its own, and speaks
//! TLS to the server.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use testkit::certificates::Identity;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

pub struct Interceptor {
    port: u16,
    task: JoinHandle<()>,
}

impl Interceptor {
    /// In front of the server of this port.
    pub async fn start(server: u16, identity: &Identity) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("its own address").port();
        let acceptor = acceptor(identity);
        let connector = connector();
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("a client");
                tokio::spawn(intercept(
                    client,
                    server,
                    acceptor.clone(),
                    connector.clone(),
                ));
            }
        });
        Self { port, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn intercept(
    mut client: TcpStream,
    server: u16,
    acceptor: TlsAcceptor,
    connector: TlsConnector,
) {
    let mut asked = [0; SSL_REQUEST.len()];
    client.read_exact(&mut asked).await.expect("a question");
    assert_eq!(asked, SSL_REQUEST);
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, server)).await;
    let mut server = server.expect("a server");
    server.write_all(&asked).await.expect("a question");
    let mut answer = [0];
    server.read_exact(&mut answer).await.expect("an answer");
    client.write_all(&answer).await.expect("an answer");
    let mut client = acceptor.accept(client).await.expect("TLS of the client");
    let name = ServerName::try_from("localhost").expect("a name");
    let server = connector.connect(name, server).await;
    let mut server = server.expect("TLS of the server");
    // Until one of them has enough of it.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

fn acceptor(identity: &Identity) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&identity.certificate).expect("a certificate");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    Arc::new(config).into()
}

fn connector() -> TlsConnector {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Arc::new(config).into()
}

/// Takes whoever answers for the server.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
