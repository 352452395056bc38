//! IncrementalAlterConfigs: changes single settings of a topic (KIP-339).

use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use kafka_protocol::protocol::VersionRange;

use super::alter_configs::{alter, told};
use super::describe_configs::TOPIC;
use super::{Api, Call, Reply, versions};
use crate::faults::Subject;

/// `AlterConfigOp.OpType` numbers.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

impl Api for IncrementalAlterConfigsRequest {
    const SERVED: VersionRange = versions(0, 1);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for resource in &self.resources {
            if resource.resource_type == TOPIC {
                visit(Subject::Topic(&resource.resource_name));
            }
        }
    }

    async fn handle(self, call: &Call) -> Reply<IncrementalAlterConfigsResponse> {
        let validate_only = self.validate_only;
        let defaults = call.state.topics.defaults();
        let responses = self
            .resources
            .into_iter()
            .map(|resource| {
                let kind = resource.resource_type;
                let altered = alter(call, kind, &resource.resource_name, validate_only, |own| {
                    for config in &resource.configs {
                        match (config.config_operation, &config.value) {
                            (SET, Some(value)) => own.set(&config.name, value)?,
                            (DELETE, _) | (SET, None) => own.unset(&config.name),
                            (APPEND, Some(value)) => {
                                own.append(&config.name, value, &defaults)?;
                            }
                            (SUBTRACT, Some(value)) => {
                                own.subtract(&config.name, value, &defaults)?;
                            }
                            (other, _) => own.refuse_operation(&config.name, other)?,
                        }
                    }
                    Ok(())
                });
                let (code, reason) = told(altered);
                AlterConfigsResourceResponse::default()
                    .with_resource_type(kind)
                    .with_resource_name(resource.resource_name)
                    .with_error_code(code)
                    .with_error_message(reason)
            })
            .collect();
        Reply::Answer(IncrementalAlterConfigsResponse::default().with_responses(responses))
    }
}
