//! Opening a connection.

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{MakeTlsConnect, NoTls, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Connection};

use super::address;
use super::failure::{
    CANNOT_CONNECT_NOW, NOT_LET_IN, asks_for_certificate, at, broken, error, hint, located, mapped,
    may_demand_encryption,
};
use super::options::{Encryption, PostgresOptions, Server};
use super::tls::Tls;
use crate::Error;

/// Asks whether the server speaks TLS (message `SSLRequest`: its length, its code).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// How long a server of several has before the next one is tried: one may swallow what is sent to it.
const HOST_LIMIT: Duration = Duration::from_secs(2);

/// A connection, and the task that drives it.
pub(crate) struct Opened {
    pub(super) client: Client,
    /// Ends by itself when the client is dropped and the server has answered what it was asked.
    pub(super) task: AbortHandle,
}

/// Opens a connection and spawns the task that drives it, which ends when the client is dropped. The caller limits the
/// time; when this is dropped half-way, the connection is closed.
///
/// The client's cancel tokens do not know how the connection was encrypted.
///
/// # Errors
/// [`Error::Tls`] and [`Error::Configuration`] stay until somebody changes a setting here or there. [`Error::Io`]:
/// nobody answers, or the connection broke off.
pub(crate) async fn connect(options: &PostgresOptions) -> Result<Opened, Error> {
    let (last, others) = options
        .servers()
        .split_last()
        .expect("a URL names at least one server");
    for server in others {
        match timeout(HOST_LIMIT, open(options, server)).await {
            Ok(Err(error)) if is_elsewhere(&error) => tracing::debug!("PostgreSQL: {error}"),
            Ok(result) => return result,
            Err(_) => tracing::debug!("PostgreSQL: {server} does not answer"),
        }
    }
    open(options, last).await
}

/// Whether another server of the URL may do: this one is away.
fn is_elsewhere(error: &Error) -> bool {
    match error {
        Error::Io(_) => true,
        Error::Database(error) => error.code == CANNOT_CONNECT_NOW,
        _ => false,
    }
}

async fn open(options: &PostgresOptions, server: &Server) -> Result<Opened, Error> {
    match server {
        Server::Socket(file) => {
            let stream = UnixStream::connect(file).await;
            let stream = stream.map_err(|error| Error::Io(at(server, &error)))?;
            let opened = plain(stream, options).await;
            opened.map_err(|failure| located(error(failure), server))
        }
        Server::Tcp {
            host,
            port,
            address,
        } => {
            let tcp = Tcp {
                options,
                server,
                host,
                port: *port,
                address: *address,
            };
            tcp.open().await
        }
    }
}

/// A connection over TCP that is being opened.
struct Tcp<'a> {
    options: &'a PostgresOptions,
    server: &'a Server,
    host: &'a str,
    port: u16,
    address: Option<IpAddr>,
}

impl Tcp<'_> {
    async fn open(&self) -> Result<Opened, Error> {
        match self.options.encryption() {
            Encryption::Never => {
                let opened = plain(self.dial().await?, self.options).await;
                opened.map_err(|failure| {
                    let may_demand = may_demand_encryption(&failure);
                    let error = located(error(failure), self.server);
                    match may_demand {
                        true => hint(
                            error,
                            "; if the server demands encryption, set sslmode=require",
                        ),
                        false => error,
                    }
                })
            }
            Encryption::Offered(tls) => self.open_as_offered(tls).await,
            Encryption::Always(tls) => {
                let mut stream = self.dial().await?;
                if !self.offers_tls(&mut stream).await? {
                    return Err(Error::Tls(format!(
                        "{}: it does not speak TLS, and sslmode demands it; turn on ssl in the server, or set \
                         sslmode=disable",
                        self.server
                    )));
                }
                self.encrypted(stream, tls).await
            }
        }
    }

    /// `sslmode=prefer`: without TLS where the server has none, where the handshake fails, and where the server lets
    /// this client in only without.
    async fn open_as_offered(&self, tls: &Tls) -> Result<Opened, Error> {
        let mut stream = self.dial().await?;
        if !self.offers_tls(&mut stream).await? {
            return self.plain(stream).await;
        }
        let refusal = match self.encrypted(stream, tls).await {
            Err(error @ Error::Tls(_)) => error,
            Err(Error::Database(error)) if error.code == NOT_LET_IN => Error::Database(error),
            result => return result,
        };
        match self.plain(self.dial().await?).await {
            Err(Error::Io(error)) => Err(Error::Io(error)),
            // With TLS is how it should have worked.
            Err(_) => Err(refusal),
            Ok(client) => {
                tracing::debug!("PostgreSQL: not encrypted, since with TLS: {refusal}");
                Ok(client)
            }
        }
    }

    async fn plain(&self, stream: TcpStream) -> Result<Opened, Error> {
        let opened = plain(stream, self.options).await;
        opened.map_err(|failure| located(error(failure), self.server))
    }

    async fn dial(&self) -> Result<TcpStream, Error> {
        let stream = match self.address {
            Some(address) => address::connect(&address.to_string(), self.port).await,
            None => address::connect(self.host, self.port).await,
        };
        stream.map_err(|error| Error::Io(at(self.server, &error)))
    }

    /// Asked here and not by tokio-postgres, which takes a server that has no process left for this connection for one
    /// without TLS.
    async fn offers_tls(&self, stream: &mut TcpStream) -> Result<bool, Error> {
        let mut answer = [0];
        let asked = async {
            stream.write_all(&SSL_REQUEST).await?;
            stream.read_exact(&mut answer).await
        };
        if let Err(failure) = asked.await {
            return Err(located(broken(failure, false), self.server));
        }
        match answer {
            [b'S'] => Ok(true),
            [b'N'] => Ok(false),
            // The beginning of an error in words of an older protocol: the server cannot start a process.
            [b'E'] => {
                let kind = io::ErrorKind::ConnectionRefused;
                let error = io::Error::new(kind, "it cannot take another connection now");
                Err(Error::Io(at(self.server, &error)))
            }
            _ => Err(Error::Protocol(format!(
                "{}: what answers there is no PostgreSQL",
                self.server
            ))),
        }
    }

    async fn encrypted(&self, stream: TcpStream, tls: &Tls) -> Result<Opened, Error> {
        let name = self.certificate_name(&stream)?;
        let mut connector = tls.connector();
        let Ok(connector) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut connector, &name);
        let mut config = self.options.config().clone();
        // The server has been asked already.
        config
            .ssl_mode(SslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct);
        let opened = start(stream, connector, &config).await;
        opened.map_err(|failure| {
            let shows_certificate = tls.shows_certificate();
            let asks = !shows_certificate && asks_for_certificate(&failure);
            let error = located(mapped(failure, shows_certificate), self.server);
            match asks {
                true => hint(error, "; set sslcert and sslkey"),
                false => error,
            }
        })
    }

    /// Whose certificate is expected. Where that is not checked, the name may be one that no certificate can be for.
    fn certificate_name(&self, stream: &TcpStream) -> Result<String, Error> {
        if ServerName::try_from(self.host).is_ok() {
            return Ok(self.host.to_owned());
        }
        let peer = stream.peer_addr();
        let peer = peer.map_err(|error| Error::Io(at(self.server, &error)))?;
        Ok(peer.ip().to_string())
    }
}

async fn plain<S>(stream: S, options: &PostgresOptions) -> Result<Opened, tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut config = options.config().clone();
    config.ssl_mode(SslMode::Disable);
    start(stream, NoTls, &config).await
}

async fn start<S, T>(stream: S, tls: T, config: &Config) -> Result<Opened, tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect_raw(stream, tls).await?;
    let task = tokio::spawn(drive(connection)).abort_handle();
    Ok(Opened { client, task })
}

/// Sends and receives until the client is dropped, or the connection breaks off: then the client's calls fail.
async fn drive<S, T>(mut connection: Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notice(notice)) => {
                tracing::debug!("PostgreSQL: {}: {}", notice.severity(), notice.message());
            }
            Ok(_) => {}
            Err(failure) => {
                tracing::debug!("PostgreSQL: {}", error(failure));
                return;
            }
        }
    }
}
