//! Opening a connection.

use std::error::Error as StdError;
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
use super::options::{Encryption, PostgresOptions, Server};
use super::tls::{self, Tls};
use crate::{DatabaseError, Error};

/// Asks whether the server speaks TLS (message `SSLRequest`: its length, its code).
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// How long a server of several has before the next one is tried: one may swallow what is sent to it.
const HOST_LIMIT: Duration = Duration::from_secs(2);

/// SQLSTATE `invalid_authorization_specification`: no entry of `pg_hba.conf` lets this client in as it comes.
const NOT_LET_IN: &str = "28000";

/// SQLSTATE `cannot_connect_now`: the server starts, stops or recovers.
pub(crate) const CANNOT_CONNECT_NOW: &str = "57P03";

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

/// What tokio-postgres says, as this crate says it.
pub(crate) fn error(error: tokio_postgres::Error) -> Error {
    mapped(error, false)
}

/// `shows_certificate`: this client has one of its own.
fn mapped(error: tokio_postgres::Error, shows_certificate: bool) -> Error {
    if let Some(said) = error.as_db_error() {
        return Error::Database(DatabaseError {
            code: said.code().code().to_owned(),
            message: said.message().to_owned(),
        });
    }
    if error.is_closed() {
        return Error::Io(closed());
    }
    // Which kind it is can only be told by its first words.
    let kind = error.to_string();
    let cause = error.into_source();
    let begins = |words: &[&str]| words.iter().any(|words| kind.starts_with(words));
    if begins(&["error serializing", "error encoding", "expected "]) {
        return Error::Encode(with_cause(&kind, cause.as_deref()).into());
    }
    if begins(&[
        "error deserializing",
        "invalid column",
        "query returned an unexpected number of columns",
    ]) {
        return Error::Decode(with_cause(&kind, cause.as_deref()).into());
    }
    if begins(&["query returned an unexpected number of rows"]) {
        return Error::RowNotFound;
    }
    if begins(&["authentication error", "invalid configuration"]) {
        return Error::Configuration(authentication(&kind, cause.as_deref()));
    }
    if begins(&[
        "error performing TLS",
        "error communicating",
        "error connecting",
    ]) && let Some(cause) = cause
    {
        return match cause.downcast::<io::Error>() {
            Ok(cause) => broken(*cause, shows_certificate),
            Err(cause) => Error::Protocol(with_cause(&kind, Some(&*cause))),
        };
    }
    Error::Protocol(with_cause(&kind, cause.as_deref()))
}

/// A connection that failed: lost, refused by TLS, or of something that speaks otherwise.
fn broken(error: io::Error, shows_certificate: bool) -> Error {
    let refusal = error.get_ref().and_then(|cause| cause.downcast_ref());
    if let Some(refusal) = refusal {
        return Error::Tls(tls::refusal(refusal, shows_certificate));
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::Io(closed()),
        // Of the decoder of messages.
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            Error::Protocol(error.to_string())
        }
        _ => Error::Io(error),
    }
}

/// Why server and client do not know each other.
fn authentication(kind: &str, cause: Option<&(dyn StdError + Send + Sync)>) -> String {
    match cause.map(ToString::to_string).as_deref() {
        Some("password missing") => {
            "password: the server asks for one, and there is none".to_owned()
        }
        Some("server did not use channel binding") => {
            "channel_binding: the server does not use it, or the connection is not encrypted; set \
             channel_binding=prefer, or give the server TLS and a password of scram-sha-256"
                .to_owned()
        }
        _ => with_cause(kind, cause),
    }
}

fn with_cause(kind: &str, cause: Option<&(dyn StdError + Send + Sync)>) -> String {
    match cause {
        Some(cause) => format!("{kind}: {cause}"),
        None => kind.to_owned(),
    }
}

fn closed() -> io::Error {
    let text = "the server closed the connection";
    io::Error::new(io::ErrorKind::ConnectionAborted, text)
}

fn at(server: &Server, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{server}: {error}"))
}

/// The same, with the server that it is about.
fn located(error: Error, server: &Server) -> Error {
    match error {
        Error::Io(error) => Error::Io(at(server, &error)),
        Error::Tls(text) => Error::Tls(format!("{server}: {text}")),
        Error::Protocol(text) => Error::Protocol(format!("{server}: {text}")),
        other => other,
    }
}

/// Whether the server may let nobody in without encryption. How PostgreSQL says so depends on its language; PgBouncer
/// says "SSL required".
fn may_demand_encryption(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        // The same code from this function: the role does not exist, or may not log in.
        let of_role = error.routine() == Some("InitializeSessionUserId");
        error.message().contains("SSL") || error.code().code() == NOT_LET_IN && !of_role
    })
}

/// Whether the server lets in only those who show a certificate. In another language than English its own words have to
/// do.
fn asks_for_certificate(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|error| {
        error.code().code() == NOT_LET_IN && error.message().contains("client certificate")
    })
}

fn hint(error: Error, hint: &str) -> Error {
    match error {
        Error::Database(mut error) => {
            error.message.push_str(hint);
            Error::Database(error)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;

    /// What a server says that lets everybody in: `AuthenticationOk`, `ReadyForQuery`.
    const WELCOME: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";

    /// What a client says last.
    const TERMINATE: &[u8] = b"X\0\0\0\x04";

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[kind], &length.to_be_bytes()[..], body].concat()
    }

    /// What a server says that refuses.
    fn refused(code: &str, text: &str) -> Vec<u8> {
        let body = format!("SFATAL\0VFATAL\0C{code}\0M{text}\0\0");
        message(b'E', body.as_bytes())
    }

    /// Reads the message that begins a connection, which has no kind.
    async fn beginning(stream: &mut TcpStream) -> Vec<u8> {
        let length = stream.read_u32().await.unwrap();
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await.unwrap();
        body
    }

    async fn listening() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A server that says this to each connection, a word for each message that begins it, and then reads what is said
    /// to it until the client has closed.
    async fn server(connections: Vec<Vec<Vec<u8>>>) -> (SocketAddr, JoinHandle<Vec<Vec<u8>>>) {
        let (listener, address) = listening().await;
        let task = tokio::spawn(async move {
            let mut heard = Vec::new();
            for answers in connections {
                let (mut stream, _) = listener.accept().await.unwrap();
                for answer in answers {
                    beginning(&mut stream).await;
                    stream.write_all(&answer).await.unwrap();
                }
                let mut rest = Vec::new();
                // It may be reset instead.
                let _ = stream.read_to_end(&mut rest).await;
                heard.push(rest);
            }
            heard
        });
        (address, task)
    }

    fn options(address: SocketAddr, parameters: &str) -> PostgresOptions {
        PostgresOptions::parse(&format!("postgres://me@{address}/x?{parameters}")).unwrap()
    }

    async fn connected(address: SocketAddr, parameters: &str) -> Result<Client, Error> {
        let opened = connect(&options(address, parameters)).await?;
        Ok(opened.client)
    }

    #[tokio::test]
    async fn a_dropped_client_takes_leave_of_the_server() {
        let (address, server) = server(vec![vec![WELCOME.to_vec()]]).await;
        drop(connected(address, "sslmode=disable").await.unwrap());
        assert_eq!(server.await.unwrap(), [TERMINATE]);
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_passed_where_there_is_another() {
        let (silent, at) = listening().await;
        let (address, _server) = server(vec![vec![WELCOME.to_vec()]]).await;
        let url = format!("postgres://me@{at},{address}/x?sslmode=disable");
        connect(&PostgresOptions::parse(&url).unwrap())
            .await
            .map(drop)
            .unwrap();
        drop(silent);
    }

    /// It never answers the question, and would be waited for.
    #[tokio::test]
    async fn a_client_dropped_with_an_open_question_closes_its_connection() {
        let (address, server) = server(vec![vec![WELCOME.to_vec()]]).await;
        let options = options(address, "sslmode=disable");
        let session = super::super::Session::open(&options).await.unwrap();
        let mut asking = Box::pin(session.ping());
        assert!(futures::poll!(&mut asking).is_pending());
        // The question is sent.
        tokio::task::yield_now().await;
        drop(asking);
        drop(session);
        let limit = std::time::Duration::from_secs(10);
        let heard = tokio::time::timeout(limit, server).await;
        heard.expect("it is closed").unwrap();
    }

    #[tokio::test]
    async fn a_connection_given_up_half_way_is_closed() {
        let (listener, address) = listening().await;
        let options = options(address, "sslmode=disable");
        let mut connecting = Box::pin(connect(&options));
        let accepted = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            beginning(&mut stream).await;
            stream
        };
        let mut stream = tokio::select! {
            _ = &mut connecting => panic!("it was not answered"),
            stream = accepted => stream,
        };
        drop(connecting);
        let mut rest = Vec::new();
        assert_eq!(stream.read_to_end(&mut rest).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn where_encryption_is_only_preferred_the_connection_goes_on_without() {
        let no_tls = vec![b"N".to_vec(), WELCOME.to_vec()];
        let broken_tls = vec![b"Sno TLS at all".to_vec()];
        let plain = vec![WELCOME.to_vec()];
        for connections in [vec![no_tls], vec![broken_tls, plain]] {
            let (address, server) = server(connections).await;
            drop(connected(address, "sslmode=prefer").await.unwrap());
            assert_eq!(server.await.unwrap().pop().unwrap(), TERMINATE);
        }
    }

    #[tokio::test]
    async fn what_does_not_speak_tls_is_refused_where_it_is_demanded() {
        for (answers, part) in [
            (vec![b"N".to_vec()], "does not speak TLS, and sslmode"),
            (
                vec![b"Sno TLS at all".to_vec()],
                "offered TLS, and does not speak it",
            ),
        ] {
            let (address, _server) = server(vec![answers]).await;
            match connected(address, "sslmode=require").await {
                Err(Error::Tls(text)) => {
                    assert!(text.starts_with(&format!("{address}: ")), "{text}");
                    assert!(text.contains(part), "{text}");
                }
                other => panic!("{:?}", other.map(drop)),
            }
        }
    }

    /// A refusal would be taken for something that only an operator can mend.
    #[tokio::test]
    async fn a_connection_that_breaks_off_is_no_refusal() {
        for (parameters, said) in [
            ("sslmode=disable", ""),
            ("sslmode=prefer", ""),
            ("sslmode=prefer", "S"),
            ("sslmode=require", ""),
            ("sslmode=require", "S"),
        ] {
            let (listener, address) = listening().await;
            let server = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                beginning(&mut stream).await;
                stream.write_all(said.as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            };
            match tokio::join!(connected(address, parameters), server).0 {
                Err(Error::Io(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error}");
                }
                other => panic!("{parameters}, {said:?}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_server_without_a_process_left_is_asked_later() {
        for parameters in ["sslmode=prefer", "sslmode=require"] {
            let answer = b"Ecould not fork\0".to_vec();
            let (address, _server) = server(vec![vec![answer]]).await;
            match connected(address, parameters).await {
                Err(Error::Io(error)) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
                }
                other => panic!("{:?}", other.map(drop)),
            }
        }
        let (address, _server) = server(vec![vec![b"HTTP/1.1 400".to_vec()]]).await;
        let other = connected(address, "sslmode=prefer").await;
        assert!(matches!(other, Err(Error::Protocol(_))), "{other:?}");
    }

    #[tokio::test]
    async fn servers_are_tried_in_their_order_until_one_takes_the_connection() {
        let (closed, away) = listening().await;
        drop(closed);
        let starting = refused(CANNOT_CONNECT_NOW, "the database system is starting up");
        let (starting, _starting) = server(vec![vec![starting]]).await;
        let (there, server) = server(vec![vec![WELCOME.to_vec()]]).await;
        let url = format!("postgres://me@{away},{starting},{there}/x?sslmode=disable");
        let client = connect(&PostgresOptions::parse(&url).unwrap()).await;
        drop(client.unwrap());
        assert_eq!(server.await.unwrap(), [TERMINATE]);
    }

    /// The next server would say the same.
    #[tokio::test]
    async fn a_refusal_ends_the_search_for_a_server() {
        let refusing = refused("28P01", "password authentication failed");
        let (refusing, _refusing) = server(vec![vec![refusing]]).await;
        let (there, server) = server(vec![vec![WELCOME.to_vec()]]).await;
        let url = format!("postgres://me@{refusing},{there}/x?sslmode=disable");
        match connect(&PostgresOptions::parse(&url).unwrap()).await {
            Err(Error::Database(error)) => assert_eq!(error.code, "28P01"),
            other => panic!("{:?}", other.map(drop)),
        }
        assert!(!server.is_finished());
    }

    #[tokio::test]
    async fn who_is_not_known_has_a_mistake_in_the_configuration() {
        let wants_password = message(b'R', &3u32.to_be_bytes());
        for (answer, parameters, part) in [
            (wants_password, "", "password: the server asks for one"),
            (
                WELCOME.to_vec(),
                "&channel_binding=require",
                "channel_binding: the server does not use it",
            ),
            (
                message(b'R', &7u32.to_be_bytes()),
                "",
                "unsupported authentication method",
            ),
        ] {
            let (address, _server) = server(vec![vec![answer]]).await;
            match connected(address, &format!("sslmode=disable{parameters}")).await {
                Err(Error::Configuration(text)) => assert!(text.contains(part), "{text}"),
                other => panic!("{:?}", other.map(drop)),
            }
        }
    }

    #[tokio::test]
    async fn what_the_protocol_has_not_is_an_error_of_the_protocol() {
        for answer in [message(b'T', b"\0\0"), message(b'?', b"")] {
            let (address, _server) = server(vec![vec![answer]]).await;
            let other = connected(address, "sslmode=disable").await;
            assert!(matches!(other, Err(Error::Protocol(_))), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_says_what_to_set_where_encryption_may_be_what_is_missing() {
        let no_entry = "no pg_hba.conf entry for host, no encryption";
        let (address, _server) = server(vec![vec![refused(NOT_LET_IN, no_entry)]]).await;
        match connected(address, "sslmode=disable").await {
            Err(Error::Database(error)) => {
                assert!(error.message.contains("set sslmode=require"), "{error}");
                assert_eq!(error.code, NOT_LET_IN);
            }
            other => panic!("{:?}", other.map(drop)),
        }
    }
}
