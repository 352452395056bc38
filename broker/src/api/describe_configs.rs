//! DescribeConfigs: of topics, and the little there is of the broker.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::{StrBytes, VersionRange};

use super::create_topics::{SOURCE_DEFAULT, SOURCE_TOPIC};
use super::{Api, Call, Reply, message, versions};
use crate::faults::Subject;
use crate::topics::list_settings;

/// `ConfigResource.Type` numbers of the protocol.
pub(super) const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// `ConfigSource` number of an entry from the broker's own configuration.
const SOURCE_STATIC_BROKER: i8 = 4;
/// `ConfigType` numbers.
const BOOLEAN: i8 = 1;
const INT: i8 = 3;
const LONG: i8 = 5;

impl Api for DescribeConfigsRequest {
    const SERVED: VersionRange = versions(1, 4);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for resource in &self.resources {
            if resource.resource_type == TOPIC {
                visit(Subject::Topic(&resource.resource_name));
            }
        }
    }

    async fn handle(self, call: &Call) -> Reply<DescribeConfigsResponse> {
        let documented = self.include_documentation;
        let results = self
            .resources
            .into_iter()
            .map(|resource| {
                let described = match call.refusal_of_all().or(call.disguise_of_all()) {
                    Some(error) => Err((error, String::new())),
                    None => describe(call, &resource, documented),
                };
                let result = DescribeConfigsResult::default()
                    .with_resource_type(resource.resource_type)
                    .with_resource_name(resource.resource_name);
                match described {
                    // Kafka sends an empty text here, not null.
                    Ok(configs) => result.with_configs(configs),
                    Err((error, reason)) => result
                        .with_error_code(error.code())
                        .with_error_message(message(reason)),
                }
            })
            .collect();
        Reply::Answer(DescribeConfigsResponse::default().with_results(results))
    }
}

fn describe(
    call: &Call,
    resource: &DescribeConfigsResource,
    documented: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, (ResponseError, String)> {
    let name: &str = &resource.resource_name;
    let mut configs = match resource.resource_type {
        TOPIC => topic(call, name, documented)?,
        BROKER if name.is_empty() || name == call.state.config.node_id.to_string() => broker(call),
        BROKER => {
            return Err((
                ResponseError::InvalidRequest,
                format!("there is no broker {name}"),
            ));
        }
        other => {
            return Err((
                ResponseError::InvalidRequest,
                format!("this broker has no configuration of resource type {other}"),
            ));
        }
    };
    if let Some(keys) = &resource.configuration_keys
        && !keys.is_empty()
    {
        configs.retain(|config| keys.contains(&config.name));
    }
    Ok(configs)
}

fn topic(
    call: &Call,
    name: &str,
    documented: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, (ResponseError, String)> {
    let topic = call.state.topics.get(name).ok_or_else(|| {
        (
            ResponseError::UnknownTopicOrPartition,
            format!("topic {name} does not exist"),
        )
    })?;
    let settings = list_settings(&topic.settings, &call.state.topics.defaults());
    let configs = settings.into_iter().map(|setting| {
        let config = DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(setting.name))
            .with_value(Some(StrBytes::from_string(setting.value)))
            .with_config_source(if setting.own {
                SOURCE_TOPIC
            } else {
                SOURCE_DEFAULT
            });
        if call.version < 3 {
            return config;
        }
        let documentation = documented.then(|| StrBytes::from_static_str(setting.documentation));
        config
            .with_config_type(setting.kind as i8)
            .with_documentation(documentation)
    });
    Ok(configs.collect())
}

/// Entries by which clients judge a broker before they create topics or groups.
fn broker(call: &Call) -> Vec<DescribeConfigsResourceResult> {
    let config = &call.state.config;
    let millis = |time: std::time::Duration| time.as_millis().to_string();
    let entries = [
        (
            "auto.create.topics.enable",
            config.auto_create_topics.to_string(),
            BOOLEAN,
        ),
        ("default.replication.factor", "1".to_owned(), INT),
        (
            "group.initial.rebalance.delay.ms",
            millis(config.group.initial_rebalance_delay),
            INT,
        ),
        (
            "group.max.session.timeout.ms",
            millis(config.group.max_session_timeout),
            INT,
        ),
        (
            "group.min.session.timeout.ms",
            millis(config.group.min_session_timeout),
            INT,
        ),
        (
            "log.retention.ms",
            config.retention.map_or("-1".to_owned(), millis),
            LONG,
        ),
        (
            "message.max.bytes",
            config.max_message_bytes.to_string(),
            INT,
        ),
        ("num.partitions", config.default_partitions.to_string(), INT),
        (
            "offset.metadata.max.bytes",
            config.group.max_offset_metadata_bytes.to_string(),
            INT,
        ),
    ];
    entries
        .into_iter()
        .map(|(name, value, kind)| {
            let entry = DescribeConfigsResourceResult::default()
                .with_documentation(None)
                .with_name(StrBytes::from_static_str(name))
                .with_value(Some(StrBytes::from_string(value)))
                .with_read_only(true)
                .with_config_source(SOURCE_STATIC_BROKER);
            if call.version >= 3 {
                entry.with_config_type(kind)
            } else {
                entry
            }
        })
        .collect()
}
