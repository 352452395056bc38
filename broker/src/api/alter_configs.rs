//! AlterConfigs: replaces all settings of a topic.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::create_topics::error_of;
use super::describe_configs::TOPIC;
use super::{Api, Call, Reply, message, versions};
use crate::faults::Subject;
use crate::topics::{SettingError, TopicSettings};

impl Api for AlterConfigsRequest {
    const SERVED: VersionRange = versions(0, 2);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for resource in &self.resources {
            if resource.resource_type == TOPIC {
                visit(Subject::Topic(&resource.resource_name));
            }
        }
    }

    async fn handle(self, call: &Call) -> Reply<AlterConfigsResponse> {
        let validate_only = self.validate_only;
        let responses = self
            .resources
            .into_iter()
            .map(|resource| {
                let kind = resource.resource_type;
                let altered = alter(call, kind, &resource.resource_name, validate_only, |own| {
                    own.clear();
                    for config in &resource.configs {
                        if let Some(value) = &config.value {
                            own.set(&config.name, value)?;
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
        Reply::Answer(AlterConfigsResponse::default().with_responses(responses))
    }
}

type Altered = Result<(), (ResponseError, String)>;

/// Changes a topic's settings; shared with IncrementalAlterConfigs.
pub(super) fn alter(
    call: &Call,
    kind: i8,
    name: &str,
    validate_only: bool,
    change: impl FnOnce(&mut TopicSettings) -> Result<(), SettingError>,
) -> Altered {
    if let Some(error) = call.refusal_of_all() {
        return Err((error, String::new()));
    }
    if kind != TOPIC {
        return Err((
            ResponseError::InvalidRequest,
            "only topics can be configured while this broker runs".to_owned(),
        ));
    }
    call.state
        .topics
        .alter(name, validate_only, change)
        .map_err(|error| (error_of(&error), error.to_string()))?;
    match call.disguise_of_all() {
        Some(error) => Err((error, String::new())),
        None => Ok(()),
    }
}

/// Error code and message of an answer.
pub(super) fn told(altered: Altered) -> (i16, Option<StrBytes>) {
    match altered {
        Ok(()) => (0, None),
        Err((error, reason)) => (error.code(), message(reason)),
    }
}
