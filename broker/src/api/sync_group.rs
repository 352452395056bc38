//! SyncGroup: the leader hands out assignments, everybody gets theirs.

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::{Api, Call, Reply, versions};
use crate::faults::Subject;
use crate::groups::group::Sync;

impl Api for SyncGroupRequest {
    const SERVED: VersionRange = versions(0, 5);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        visit(Subject::Group(&self.group_id));
    }

    async fn handle(self, call: &Call) -> Reply<SyncGroupResponse> {
        let text = |text: Option<StrBytes>| text.map(|text| text.to_string());
        let synced = match call.refusal_of_all() {
            Some(error) => Err(error),
            // Since KIP-559 the client repeats what it believes the group agreed on.
            None if call.version >= 5
                && (self.protocol_type.is_none() || self.protocol_name.is_none()) =>
            {
                Err(ResponseError::InconsistentGroupProtocol)
            }
            None => {
                let sync = Sync {
                    member_id: self.member_id.to_string(),
                    instance_id: text(self.group_instance_id),
                    generation: self.generation_id,
                    protocol_type: text(self.protocol_type),
                    protocol: text(self.protocol_name),
                    assignments: self
                        .assignments
                        .into_iter()
                        // Copied, so that the connection's buffer is not kept.
                        .map(|given| {
                            let assignment = Bytes::copy_from_slice(&given.assignment);
                            (given.member_id.to_string(), assignment)
                        })
                        .collect(),
                };
                tokio::select! {
                    synced = call.state.groups.sync(&self.group_id, sync) => synced,
                    () = call.gone.cancelled() => return Reply::Close,
                }
            }
        };
        let synced = match call.disguise_of_all() {
            Some(error) => Err(error),
            None => synced,
        };
        let response = SyncGroupResponse::default();
        Reply::Answer(match synced {
            Ok(synced) => response
                .with_assignment(synced.assignment)
                .with_protocol_type(synced.protocol_type.map(StrBytes::from_string))
                .with_protocol_name(synced.protocol.map(StrBytes::from_string)),
            Err(error) => response.with_error_code(error.code()),
        })
    }
}
