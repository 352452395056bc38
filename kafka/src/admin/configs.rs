//! Configuration of topics and brokers, as it is in force.

use std::collections::HashMap;

use futures::future::FutureExt as _;
use kafka_protocol::{
    messages::{ApiKey, DescribeConfigsRequest, describe_configs_request::DescribeConfigsResource},
    protocol::StrBytes,
};

use super::{Admin, text};
use crate::{
    connection::Connection,
    error::{Error, ResponseError},
};

/// `ConfigResource.Type` of the Java client.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// One configuration in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Such as `retention.ms`.
    pub name: String,
    /// `None` if it is sensitive or not set.
    pub value: Option<String>,
    /// Whether it cannot be changed while the broker runs.
    pub read_only: bool,
    /// Whether it is not set anywhere but has the default of Kafka.
    pub is_default: bool,
}

impl Admin {
    /// The configuration of a topic, its defaults included, by name.
    ///
    /// # Errors
    /// UNKNOWN_TOPIC_OR_PARTITION if there is no such topic, or no broker answered in time.
    pub async fn describe_topic_configs(&self, topic: &str) -> Result<Vec<ConfigEntry>, Error> {
        let what = format!("describing the configuration of topic {topic}");
        self.retrying(&what, || {
            async {
                // A broker that has not heard of a new topic yet would be asked again until the time is up.
                self.existing(&[topic.into()]).await?;
                self.configs(self.any().await?, TOPIC, topic).await
            }
            .boxed()
        })
        .await
    }

    /// Some settings of several topics, in one request: by topic, the values by name. A topic that does not
    /// exist (yet), and a setting that is not known or is sensitive, are left out.
    ///
    /// # Errors
    /// This client may not ask for a topic's configuration, or no broker answered in time.
    pub async fn topic_settings(
        &self,
        topics: &[&str],
        names: &[&str],
    ) -> Result<HashMap<String, HashMap<String, String>>, Error> {
        if topics.is_empty() {
            return Ok(HashMap::new());
        }
        let what = "describing the configuration of topics";
        let keys: Vec<StrBytes> = names.iter().map(|name| text(name)).collect();
        let resource = |topic: &&str| {
            DescribeConfigsResource::default()
                .with_resource_type(TOPIC)
                .with_resource_name(text(topic))
                .with_configuration_keys(Some(keys.clone()))
        };
        let request =
            DescribeConfigsRequest::default().with_resources(topics.iter().map(resource).collect());
        self.retrying(what, || {
            async {
                let connection = self.any().await?;
                let response = connection.call(request.clone(), self.timeout).await?;
                let mut settings = HashMap::new();
                for result in response.results {
                    let topic = result.resource_name.as_str();
                    let code = ResponseError::try_from_code(result.error_code);
                    if code == Some(ResponseError::UnknownTopicOrPartition) {
                        continue;
                    }
                    let message = result.error_message.as_deref();
                    Error::check(ApiKey::DescribeConfigs, result.error_code, message, || {
                        format!("topic {topic}")
                    })?;
                    let values = result.configs.into_iter().filter_map(|config| {
                        Some((
                            config.name.as_str().to_owned(),
                            config.value?.as_str().to_owned(),
                        ))
                    });
                    settings.insert(topic.to_owned(), values.collect());
                }
                Ok(settings)
            }
            .boxed()
        })
        .await
    }

    /// The configuration of a broker, by name.
    ///
    /// # Errors
    /// There is no such broker, or it did not answer in time.
    pub async fn describe_broker_configs(&self, node: i32) -> Result<Vec<ConfigEntry>, Error> {
        let what = format!("describing the configuration of broker {node}");
        self.retrying(&what, || {
            async {
                self.brokers().await?;
                self.configs(self.to(node).await?, BROKER, &node.to_string())
                    .await
            }
            .boxed()
        })
        .await
    }

    async fn configs(
        &self,
        connection: Connection,
        kind: i8,
        name: &str,
    ) -> Result<Vec<ConfigEntry>, Error> {
        let request = DescribeConfigsRequest::default().with_resources(vec![
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configuration_keys(None::<Vec<StrBytes>>),
        ]);
        let response = connection.call(request, self.timeout).await?;
        let mut entries = Vec::new();
        for result in response.results {
            Error::check(
                ApiKey::DescribeConfigs,
                result.error_code,
                result.error_message.as_deref(),
                || format!("{} {name}", if kind == TOPIC { "topic" } else { "broker" }),
            )?;
            /// `DescribeConfigsResponse.ConfigSource.DEFAULT_CONFIG`.
            const DEFAULT_CONFIG: i8 = 5;
            entries.extend(result.configs.into_iter().map(|config| ConfigEntry {
                name: config.name.as_str().to_owned(),
                value: config.value.map(|value| value.as_str().to_owned()),
                read_only: config.read_only,
                is_default: config.config_source == DEFAULT_CONFIG,
            }));
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}
