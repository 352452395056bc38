//! FindCoordinator: where a group's coordinator is. Here, always.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::{Api, Call, Reply, versions};
use crate::faults::Subject;

/// `CoordinatorType` numbers.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

impl Api for FindCoordinatorRequest {
    const SERVED: VersionRange = versions(0, 6);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        if self.coordinator_keys.is_empty() {
            visit(Subject::Group(&self.key));
        }
        for key in &self.coordinator_keys {
            visit(Subject::Group(key));
        }
    }

    async fn handle(self, call: &Call) -> Reply<FindCoordinatorResponse> {
        let found = match call.refusal_of_all().or(call.disguise_of_all()) {
            Some(error) => Err((error, "")),
            None if self.key_type == GROUP => Ok(()),
            // There are no transactions, and InitProducerId says so: sarama asks here again for five
            // seconds after any error, and kafkajs tells its user something else.
            None if self.key_type == TRANSACTION => Ok(()),
            None => Err((
                ResponseError::InvalidRequest,
                "this broker coordinates consumer groups only: no share groups",
            )),
        };
        let (error_code, error_message) = match found {
            Ok(()) => (0, None),
            Err((error, "")) => (error.code(), None),
            Err((error, reason)) => (error.code(), Some(StrBytes::from_static_str(reason))),
        };
        let (node, (host, port)) = match found {
            Ok(()) => (call.state.config.node_id, call.address()),
            Err(_) => (-1, (StrBytes::new(), -1)),
        };
        if call.version < 4 {
            return Reply::Answer(
                FindCoordinatorResponse::default()
                    .with_error_code(error_code)
                    .with_error_message(error_message)
                    .with_node_id(node.into())
                    .with_host(host)
                    .with_port(port),
            );
        }
        let coordinators = self
            .coordinator_keys
            .into_iter()
            .map(|key| {
                Coordinator::default()
                    .with_key(key)
                    .with_error_code(error_code)
                    .with_error_message(error_message.clone())
                    .with_node_id(node.into())
                    .with_host(host.clone())
                    .with_port(port)
            })
            .collect();
        Reply::Answer(FindCoordinatorResponse::default().with_coordinators(coordinators))
    }
}
