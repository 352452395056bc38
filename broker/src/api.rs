//! From a request's bytes to an answer's: one file an API, this one for what they share.

mod alter_configs;
mod api_versions;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_topic_partitions;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod operations;
mod produce;
mod sync_group;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::*;
use kafka_protocol::messages::{ApiKey, ResponseHeader};
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes, VersionRange};
use tokio_util::sync::CancellationToken;

use crate::faults::{Action, Active, Subject};
use crate::state::State;
use crate::topics::Topics;

/// One API as this broker serves it.
pub(crate) trait Api: Request + Send + wire::Shape {
    /// Versions served.
    const SERVED: VersionRange;

    /// Fills in the names of topics that the request gives by id alone. The name of an unknown id stays empty.
    fn name_topics(&mut self, _topics: &Topics) {}

    /// Tells `visit` what the request is about, for the rules of misbehaviour.
    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>));

    fn handle(self, call: &Call) -> impl Future<Output = Reply<Self::Response>> + Send;
}

pub(crate) enum Reply<R> {
    Answer(R),
    /// The client asked for none.
    Nothing,
    /// The client learns of the failure by losing the connection.
    Close,
}

/// A request being served: who asks, and what of it.
pub(crate) struct Call {
    pub(crate) state: Arc<State>,
    pub(crate) version: i16,
    pub(crate) client_id: StrBytes,
    pub(crate) peer: SocketAddr,
    /// The address the client connected to.
    pub(crate) local: SocketAddr,
    /// Cancelled when nobody waits for the answer any more.
    pub(crate) gone: CancellationToken,
    faults: Vec<Active>,
}

impl Call {
    /// Host and port that clients are told.
    pub(crate) fn address(&self) -> (StrBytes, i32) {
        match &self.state.config.advertised {
            Some(advertised) => (
                StrBytes::from_string(advertised.host.clone()),
                i32::from(advertised.port),
            ),
            None => (
                StrBytes::from_string(self.local.ip().to_canonical().to_string()),
                i32::from(self.local.port()),
            ),
        }
    }

    /// Error that a test wants for this partition instead of the work.
    pub(crate) fn refusal(&self, topic: &str, partition: i32) -> Option<ResponseError> {
        self.faults.iter().find_map(|fault| match fault.action {
            Action::Error(error) if fault.covers(topic, partition) => Some(error),
            _ => None,
        })
    }

    /// Error that a test wants told of this partition although the work was done.
    pub(crate) fn disguise(&self, topic: &str, partition: i32) -> Option<ResponseError> {
        self.faults.iter().find_map(|fault| match fault.action {
            Action::ErrorAfter(error) if fault.covers(topic, partition) => Some(error),
            _ => None,
        })
    }

    /// Error that a test wants for the whole request instead of the work.
    pub(crate) fn refusal_of_all(&self) -> Option<ResponseError> {
        self.faults.iter().find_map(|fault| match fault.action {
            Action::Error(error) => Some(error),
            _ => None,
        })
    }

    /// Error that a test wants told of the whole request although the work was done.
    pub(crate) fn disguise_of_all(&self) -> Option<ResponseError> {
        self.faults.iter().find_map(|fault| match fault.action {
            Action::ErrorAfter(error) => Some(error),
            _ => None,
        })
    }
}

/// What the connection does after a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Continue,
    Close,
    /// Answers nothing any more and stays open.
    FallSilent,
}

/// A request that cannot be served; its connection is closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("the request ends in its header")]
    Truncated,
    #[error("unknown API key {0}")]
    UnknownApi(i16),
    #[error("{api:?} is served from version {} to {}, not {version}", served.min, served.max)]
    UnsupportedVersion {
        api: ApiKey,
        version: i16,
        served: VersionRange,
    },
    #[error("malformed {api:?} request, version {version}: {reason}")]
    Malformed {
        api: ApiKey,
        version: i16,
        reason: wire::DecodeError,
    },
    #[error("the answer to {api:?}, version {version}, cannot be encoded: {reason}")]
    Unencodable {
        api: ApiKey,
        version: i16,
        reason: String,
    },
}

macro_rules! apis {
    ($($api:ident: $request:ident,)*) => {
        /// Every API served, with its versions.
        pub(crate) const SERVED: &[(ApiKey, VersionRange)] =
            &[$((ApiKey::$api, <$request as Api>::SERVED)),*];

        async fn dispatch(
            api: ApiKey,
            served: VersionRange,
            call: &mut Call,
            correlation: i32,
            body: Bytes,
            out: &mut BytesMut,
        ) -> Result<Next, RequestError> {
            match api {
                $(ApiKey::$api => serve::<$request>(api, call, correlation, body, out).await,)*
                _ => Err(RequestError::UnsupportedVersion {
                    api,
                    version: call.version,
                    served,
                }),
            }
        }
    };
}

apis! {
    Produce: ProduceRequest,
    Fetch: FetchRequest,
    ListOffsets: ListOffsetsRequest,
    Metadata: MetadataRequest,
    OffsetCommit: OffsetCommitRequest,
    OffsetFetch: OffsetFetchRequest,
    FindCoordinator: FindCoordinatorRequest,
    JoinGroup: JoinGroupRequest,
    Heartbeat: HeartbeatRequest,
    LeaveGroup: LeaveGroupRequest,
    SyncGroup: SyncGroupRequest,
    DescribeGroups: DescribeGroupsRequest,
    ListGroups: ListGroupsRequest,
    ApiVersions: ApiVersionsRequest,
    CreateTopics: CreateTopicsRequest,
    DeleteTopics: DeleteTopicsRequest,
    DeleteRecords: DeleteRecordsRequest,
    InitProducerId: InitProducerIdRequest,
    OffsetForLeaderEpoch: OffsetForLeaderEpochRequest,
    DescribeConfigs: DescribeConfigsRequest,
    AlterConfigs: AlterConfigsRequest,
    DescribeLogDirs: DescribeLogDirsRequest,
    CreatePartitions: CreatePartitionsRequest,
    DeleteGroups: DeleteGroupsRequest,
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest,
    OffsetDelete: OffsetDeleteRequest,
    DescribeCluster: DescribeClusterRequest,
    ConsumerGroupHeartbeat: ConsumerGroupHeartbeatRequest,
    DescribeTopicPartitions: DescribeTopicPartitionsRequest,
}

/// Serves one frame (without its length) and appends the answer's frame to `out`.
pub(crate) async fn answer(
    state: &Arc<State>,
    connection: &ConnectionInfo,
    mut frame: Bytes,
    out: &mut BytesMut,
) -> Result<Next, RequestError> {
    if frame.len() < 8 {
        return Err(RequestError::Truncated);
    }
    let key = (&frame[..2]).get_i16();
    let version = (&frame[2..4]).get_i16();
    let api = ApiKey::try_from(key).map_err(|()| RequestError::UnknownApi(key))?;
    let served = SERVED
        .iter()
        .find(|(served, _)| *served == api)
        .map(|(_, versions)| *versions)
        .ok_or(RequestError::UnknownApi(key))?;
    if !(served.min..=served.max).contains(&version) {
        if api == ApiKey::ApiVersions {
            let correlation = (&frame[4..8]).get_i32();
            api_versions::refuse(correlation, out);
            return Ok(Next::Continue);
        }
        return Err(RequestError::UnsupportedVersion {
            api,
            version,
            served,
        });
    }
    let malformed = |reason| RequestError::Malformed {
        api,
        version,
        reason,
    };
    let header = wire::decode_request_header(&mut frame, api.request_header_version(version))
        .map_err(malformed)?;
    let mut call = Call {
        state: state.clone(),
        version,
        client_id: header.client_id.unwrap_or_default(),
        peer: connection.peer,
        local: connection.local,
        gone: connection.gone.clone(),
        faults: Vec::new(),
    };
    dispatch(api, served, &mut call, header.correlation_id, frame, out).await
}

pub(crate) struct ConnectionInfo {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Cancelled when the peer sends no more.
    pub(crate) gone: CancellationToken,
}

async fn serve<R: Api>(
    api: ApiKey,
    call: &mut Call,
    correlation: i32,
    body: Bytes,
    out: &mut BytesMut,
) -> Result<Next, RequestError> {
    let version = call.version;
    let malformed = |reason| RequestError::Malformed {
        api,
        version,
        reason,
    };
    let mut request = wire::decode_request::<R>(body, version).map_err(malformed)?;
    request.name_topics(&call.state.topics);
    call.faults = call
        .state
        .faults
        .take(api, &call.client_id, |visit| request.subjects(visit));
    let call = &*call;
    for fault in &call.faults {
        match fault.action {
            Action::DropBefore => return Ok(Next::Close),
            Action::Swallow => return Ok(Next::FallSilent),
            Action::Delay(by) => tokio::time::sleep(by).await,
            _ => {}
        }
    }
    let reply = request.handle(call).await;
    for fault in &call.faults {
        match fault.action {
            Action::DropAfter => return Ok(Next::Close),
            Action::SwallowAnswer => return Ok(Next::FallSilent),
            Action::DelayAnswer(by) => tokio::time::sleep(by).await,
            _ => {}
        }
    }
    match reply {
        Reply::Answer(response) => {
            encode(&response, version, correlation, out).map_err(|reason| {
                RequestError::Unencodable {
                    api,
                    version,
                    reason,
                }
            })?;
            Ok(Next::Continue)
        }
        Reply::Nothing => Ok(Next::Continue),
        Reply::Close => Ok(Next::Close),
    }
}

fn encode<R: Encodable + HeaderVersion>(
    response: &R,
    version: i16,
    correlation: i32,
    out: &mut BytesMut,
) -> Result<(), String> {
    let start = out.len();
    out.put_i32(0);
    ResponseHeader::default()
        .with_correlation_id(correlation)
        .encode(out, R::header_version(version))
        .map_err(|error| error.to_string())?;
    response
        .encode(out, version)
        .map_err(|error| error.to_string())?;
    let length = i32::try_from(out.len() - start - 4).map_err(|error| error.to_string())?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// InitProducerId's answer to whoever wants transactions: the one error after which every client gives
/// up at once. librdkafka tries again until its time is up after UNSUPPORTED_VERSION and
/// INVALID_REQUEST.
const NO_TRANSACTIONS: ResponseError = ResponseError::TransactionalIdAuthorizationFailed;

/// A range of versions; shorter than the struct's own literal.
const fn versions(min: i16, max: i16) -> VersionRange {
    VersionRange { min, max }
}

/// The text of an error; null where there is none to tell.
fn message(text: String) -> Option<StrBytes> {
    (!text.is_empty()).then(|| StrBytes::from_string(text))
}

fn code(error: Option<ResponseError>) -> i16 {
    error.map_or(0, |error| error.code())
}
