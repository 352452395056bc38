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
