//! Connections against a scripted broker on a real socket.

use bytes::BytesMut;
use kafka_protocol::{
    error::ResponseError,
    messages::{
        ApiKey, ApiVersionsResponse, FetchRequest, ListGroupsRequest, ListGroupsResponse,
        MetadataRequest, MetadataResponse, ResponseHeader, api_versions_response::ApiVersion,
    },
    protocol::{Encodable, Message as _, decode_request_header_from_buffer},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

fn config() -> ClientConfig {
    let mut config = ClientConfig::new("127.0.0.1:1").unwrap();
    config.connect_timeout = Duration::from_secs(5);
    config.max_frame_bytes = 10_000;
    config
}

const PATIENCE: Duration = Duration::from_secs(5);

/// A broker's end of a connection.
pub(crate) struct Peer {
    socket: TcpStream,
}

pub(crate) struct Asked {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    correlation: i32,
}

impl Peer {
    pub(crate) async fn read(&mut self) -> Option<Asked> {
        let size = self.socket.read_i32().await.ok()?;
        let mut frame = vec![0; size as usize];
        self.socket.read_exact(&mut frame).await.unwrap();
        let header = decode_request_header_from_buffer(&mut Bytes::from(frame)).unwrap();
        Some(Asked {
            api: ApiKey::try_from(header.request_api_key).unwrap(),
            version: header.request_api_version,
            correlation: header.correlation_id,
        })
    }

    pub(crate) async fn answer<R: Encodable>(&mut self, asked: &Asked, version: i16, response: R) {
        let mut frame = BytesMut::new();
        ResponseHeader::default()
            .with_correlation_id(asked.correlation)
            .encode(&mut frame, asked.api.response_header_version(version))
            .unwrap();
        response.encode(&mut frame, version).unwrap();
        self.socket.write_i32(frame.len() as i32).await.unwrap();
        self.socket.write_all(&frame).await.unwrap();
    }

    async fn negotiate(&mut self, apis: &[(ApiKey, i16, i16)]) {
        let asked = self.read().await.unwrap();
        assert_eq!(asked.api, ApiKey::ApiVersions);
        self.answer(&asked, asked.version, versions(apis)).await;
    }
}

pub(crate) fn versions(apis: &[(ApiKey, i16, i16)]) -> ApiVersionsResponse {
    let range = |&(api, min, max): &(ApiKey, i16, i16)| {
        ApiVersion::default()
            .with_api_key(api as i16)
            .with_min_version(min)
            .with_max_version(max)
    };
    ApiVersionsResponse::default().with_api_keys(apis.iter().map(range).collect())
}

/// Both ends of a connection that speaks Metadata 9 and ListGroups 4.
async fn connected() -> (Connection, Peer) {
    let (listener, address) = listen().await;
    let config = config();
    let (connection, peer) = tokio::join!(Connection::open(&address, &config), async {
        let mut peer = accept(&listener).await;
        peer.negotiate(&[(ApiKey::Metadata, 0, 9), (ApiKey::ListGroups, 0, 4)])
            .await;
        peer
    });
    (connection.unwrap(), peer)
}

pub(crate) async fn listen() -> (TcpListener, Arc<str>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string().into();
    (listener, address)
}

pub(crate) async fn accept(listener: &TcpListener) -> Peer {
    let (socket, _) = listener.accept().await.unwrap();
    Peer { socket }
}

fn metadata() -> MetadataRequest {
    MetadataRequest::default().with_topics(None)
}

fn throttled(throttle_time_ms: i32) -> MetadataResponse {
    MetadataResponse::default().with_throttle_time_ms(throttle_time_ms)
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let (connection, mut peer) = connected().await;
    let broker = async {
        let first = peer.read().await.unwrap();
        let second = peer.read().await.unwrap();
        assert_eq!((first.api, first.version), (ApiKey::Metadata, 9));
        assert_eq!((second.api, second.version), (ApiKey::ListGroups, 4));
        peer.answer(
            &second,
            4,
            ListGroupsResponse::default().with_throttle_time_ms(2),
        )
        .await;
        peer.answer(&first, 9, throttled(1)).await;
    };
    let (first, second, ()) = tokio::join!(
        connection.call(metadata(), PATIENCE),
        connection.call(ListGroupsRequest::default(), PATIENCE),
        broker
    );
    assert_eq!(first.unwrap().throttle_time_ms, 1);
    assert_eq!(second.unwrap().throttle_time_ms, 2);
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_newest_negotiation_is_asked_in_version_0() {
    let (listener, address) = listen().await;
    let broker = async {
        let mut peer = accept(&listener).await;
        let asked = peer.read().await.unwrap();
        assert_eq!(asked.version, 3);
        let refused = ApiVersionsResponse::default()
            .with_error_code(ResponseError::UnsupportedVersion.code());
        peer.answer(&asked, 0, refused).await;
        let asked = peer.read().await.unwrap();
        assert_eq!(asked.version, 0);
        peer.answer(&asked, 0, versions(&[(ApiKey::Metadata, 0, 4)]))
            .await;
        peer
    };
    let config = config();
    let (connection, _peer) = tokio::join!(Connection::open(&address, &config), broker);
    assert_eq!(connection.unwrap().version::<MetadataRequest>(), Some(4));
}

#[tokio::test]
async fn a_request_without_a_common_version_is_not_sent() {
    let (connection, mut peer) = connected().await;
    let error = connection
        .call(FetchRequest::default(), PATIENCE)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not speak Fetch"), "{error}");
    assert!(
        error.contains(&format!(
            "client {}..=13, broker none",
            FetchRequest::VERSIONS.min
        )),
        "{error}"
    );
    drop(connection);
    assert!(peer.read().await.is_none());
}

#[tokio::test]
async fn a_late_answer_closes_the_connection_for_all() {
    let (connection, mut peer) = connected().await;
    let short = Duration::from_millis(50);
    let (late, waiting) = tokio::join!(
        connection.call(metadata(), short),
        connection.call(ListGroupsRequest::default(), PATIENCE),
    );
    let address = connection.address();
    let late = late.unwrap_err();
    assert!(
        matches!(&late, Error::Timeout { elapsed, .. } if *elapsed >= short),
        "{late}"
    );
    assert!(
        late.to_string().starts_with(&format!(
            "Kafka broker {address} did not answer Metadata within"
        )),
        "{late}"
    );
    let waiting = waiting.unwrap_err().to_string();
    assert!(
        waiting.contains(&format!(
            "connection to Kafka broker {address} closed while ListGroups waited"
        )),
        "{waiting}"
    );
    assert!(
        waiting.contains("Metadata had no answer within"),
        "{waiting}"
    );
    assert!(!connection.is_usable());
    assert!(connection.call(metadata(), PATIENCE).await.is_err());
    while peer.read().await.is_some() {}
}

#[tokio::test]
async fn a_broker_that_hangs_up_answers_every_call() {
    let (connection, mut peer) = connected().await;
    let broker = async {
        peer.read().await.unwrap();
        peer.read().await.unwrap();
        drop(peer);
    };
    let (first, second, ()) = tokio::join!(
        connection.call(metadata(), PATIENCE),
        connection.call(metadata(), PATIENCE),
        broker
    );
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        assert!(error.is_retriable());
    }
}

#[tokio::test]
async fn a_dropped_call_leaves_the_connection_usable() {
    let (connection, mut peer) = connected().await;
    let mut given_up = Box::pin(connection.call(metadata(), PATIENCE));
    let asked = tokio::select! {
        _ = &mut given_up => unreachable!("nobody answers"),
        asked = peer.read() => asked.unwrap(),
    };
    drop(given_up);
    peer.answer(&asked, 9, throttled(1)).await;
    let broker = async {
        let asked = peer.read().await.unwrap();
        peer.answer(&asked, 9, throttled(2)).await;
    };
    let (answer, ()) = tokio::join!(connection.call(metadata(), PATIENCE), broker);
    assert_eq!(answer.unwrap().throttle_time_ms, 2);
}

#[tokio::test]
async fn a_frame_beyond_the_limit_closes_the_connection_before_it_is_read() {
    for (size, problem) in [
        (
            10_001,
            "an answer has 10001 bytes, more than max_frame_bytes (10000)",
        ),
        (-1, "an answer has the size -1"),
    ] {
        let (connection, mut peer) = connected().await;
        let broker = async {
            peer.read().await.unwrap();
            peer.socket.write_i32(size).await.unwrap();
            peer.read().await
        };
        let (answer, _) = tokio::join!(connection.call(metadata(), PATIENCE), broker);
        let error = answer.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_closes_the_connection() {
    let (connection, mut peer) = connected().await;
    let broker = async {
        let mut asked = peer.read().await.unwrap();
        asked.correlation += 1;
        peer.answer(&asked, 9, throttled(1)).await;
        peer.read().await
    };
    let (answer, _) = tokio::join!(connection.call(metadata(), PATIENCE), broker);
    assert!(answer.unwrap_err().to_string().contains("nobody waits for"));
}

#[tokio::test]
async fn an_answer_that_cannot_be_decoded_names_the_request() {
    let (connection, mut peer) = connected().await;
    let broker = async {
        let asked = peer.read().await.unwrap();
        let mut frame = asked.correlation.to_be_bytes().to_vec();
        frame.extend([0, 1, 2]);
        peer.socket.write_i32(frame.len() as i32).await.unwrap();
        peer.socket.write_all(&frame).await.unwrap();
        // The frame was whole: the connection goes on.
        let asked = peer.read().await.unwrap();
        peer.answer(&asked, 9, throttled(3)).await;
    };
    let calls = async {
        let error = connection.call(metadata(), PATIENCE).await.unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("Metadata with Kafka broker 127.0.0.1:"),
            "{error}"
        );
        assert!(
            error.to_string().contains("cannot be decoded in version 9"),
            "{error}"
        );
        connection.call(metadata(), PATIENCE).await.unwrap()
    };
    let (answer, ()) = tokio::join!(calls, broker);
    assert_eq!(answer.throttle_time_ms, 3);
}

#[tokio::test]
async fn a_silent_broker_is_given_up_within_the_connect_timeout() {
    let (listener, address) = listen().await;
    let mut config = config();
    config.connect_timeout = Duration::from_millis(50);
    let broker = async {
        let mut peer = accept(&listener).await;
        while peer.read().await.is_some() {}
    };
    let (opened, ()) = tokio::join!(Connection::open(&address, &config), broker);
    let error = opened.err().unwrap();
    assert!(error.to_string().contains(&*address), "{error}");
    assert!(error.is_connection());
}

#[tokio::test]
async fn nobody_listening_is_an_error_with_the_address() {
    let (listener, address) = listen().await;
    drop(listener);
    let error = Connection::open(&address, &config()).await.err().unwrap();
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot connect to Kafka broker {address}")),
        "{error}"
    );
}

#[tokio::test]
async fn the_last_handle_dropped_ends_the_connection() {
    let (connection, mut peer) = connected().await;
    let other = connection.clone();
    drop(connection);
    assert!(other.is_usable());
    drop(other);
    assert!(peer.read().await.is_none());
}
