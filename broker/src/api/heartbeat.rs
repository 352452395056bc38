//! Heartbeat: a member is alive; a rebalance is made known to it.

use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};
use kafka_protocol::protocol::VersionRange;

use super::{Api, Call, Reply, code, versions};
use crate::faults::Subject;

impl Api for HeartbeatRequest {
    const SERVED: VersionRange = versions(0, 4);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        visit(Subject::Group(&self.group_id));
    }

    async fn handle(self, call: &Call) -> Reply<HeartbeatResponse> {
        let error = call
            .refusal_of_all()
            .or_else(|| {
                let heard = call.state.groups.heartbeat(
                    &self.group_id,
                    &self.member_id,
                    self.group_instance_id.as_deref(),
                    self.generation_id,
                );
                heard.err()
            })
            .map_or_else(|| call.disguise_of_all(), Some);
        Reply::Answer(HeartbeatResponse::default().with_error_code(code(error)))
    }
}
