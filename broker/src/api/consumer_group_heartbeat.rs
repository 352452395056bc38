//! ConsumerGroupHeartbeat: refused. There are no groups of the new consumer protocol (KIP-848).
//!
//! It is answered as Apache Kafka answers it with `group.version=0`, since librdkafka waits for ever
//! where a broker does not have this API at all.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::{Api, Call, Reply, versions};
use crate::faults::Subject;

impl Api for ConsumerGroupHeartbeatRequest {
    const SERVED: VersionRange = versions(0, 1);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        visit(Subject::Group(&self.group_id));
    }

    async fn handle(self, call: &Call) -> Reply<ConsumerGroupHeartbeatResponse> {
        let forced = call.refusal_of_all().or(call.disguise_of_all());
        let error = forced.unwrap_or(ResponseError::UnsupportedVersion);
        Reply::Answer(
            ConsumerGroupHeartbeatResponse::default()
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_static_str(
                    "this broker has groups of the classic protocol only: set group.protocol=classic",
                ))),
        )
    }
}
