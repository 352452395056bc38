//! JoinGroup: a member announces itself; the answer comes when the rebalance is through.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};
use uuid::Uuid;

use super::{Api, Call, Reply, code, versions};
use crate::faults::Subject;
use crate::groups::group::{Join, Joined};

impl Api for JoinGroupRequest {
    const SERVED: VersionRange = versions(0, 9);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        visit(Subject::Group(&self.group_id));
    }

    async fn handle(self, call: &Call) -> Reply<JoinGroupResponse> {
        let member_id = self.member_id.to_string();
        let mut joined = if let Some(error) = call.refusal_of_all() {
            Joined::failed(error, member_id.clone())
        } else if self.group_id.is_empty() {
            Joined::failed(ResponseError::InvalidGroupId, member_id.clone())
        } else {
            let group = self.group_id.clone();
            let join = join(self, call);
            tokio::select! {
                joined = call.state.groups.join(&group, join) => joined,
                // The member keeps its place; a client that is only reconnecting joins again.
                () = call.gone.cancelled() => return Reply::Close,
            }
        };
        if let Some(error) = call.disguise_of_all() {
            joined = Joined::failed(error, member_id);
        }
        Reply::Answer(respond(joined, call.version))
    }
}

fn join(request: JoinGroupRequest, call: &Call) -> Join {
    let millis = |ms: i32| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let instance_id = request.group_instance_id.as_ref().map(ToString::to_string);
    // Named as Kafka names them, so that an operator sees whose member it is.
    let prefix = instance_id.as_deref().unwrap_or(&call.client_id);
    Join {
        member_id: request.member_id.to_string(),
        fresh_id: format!("{prefix}-{}", Uuid::new_v4()),
        client_id: call.client_id.to_string(),
        client_host: format!("/{}", call.peer.ip().to_canonical()),
        session_timeout: millis(request.session_timeout_ms),
        rebalance_timeout: if call.version == 0 {
            millis(request.session_timeout_ms)
        } else {
            millis(request.rebalance_timeout_ms)
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .into_iter()
            // Copied: a slice would keep the connection's whole buffer as long as the member lives.
            .map(|protocol| {
                let metadata = Bytes::copy_from_slice(&protocol.metadata);
                (protocol.name.to_string(), metadata)
            })
            .collect(),
        needs_known_id: call.version >= 4 && instance_id.is_none(),
        may_skip_assignment: call.version >= 9,
        instance_id,
    }
}

fn respond(joined: Joined, version: i16) -> JoinGroupResponse {
    let members = joined
        .members
        .into_iter()
        .map(|(id, instance_id, metadata)| {
            JoinGroupResponseMember::default()
                .with_member_id(StrBytes::from_string(id))
                .with_group_instance_id(instance_id.map(StrBytes::from_string))
                .with_metadata(metadata)
        })
        .collect();
    // Null only since version 7.
    let protocol = match joined.protocol {
        None if version < 7 => Some(String::new()),
        protocol => protocol,
    };
    JoinGroupResponse::default()
        .with_error_code(code(joined.error))
        .with_generation_id(joined.generation)
        .with_protocol_type(joined.protocol_type.map(StrBytes::from_string))
        .with_protocol_name(protocol.map(StrBytes::from_string))
        .with_leader(StrBytes::from_string(joined.leader))
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(StrBytes::from_string(joined.member_id))
        .with_members(members)
}
