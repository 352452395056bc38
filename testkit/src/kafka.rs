//! A Kafka for a test: Apache Kafka by environment, or an embedded broker.

use std::fs;
use std::time::Duration;

use broker::{Broker, Config};
use kafka_protocol::error::ParseResponseErrorCode;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest, MetadataRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tempfile::TempDir;

use crate::raw::Connection;
use crate::wait::eventually;

/// Names Apache Kafka to test against: `host:port`, several separated by commas.
const BOOTSTRAP_VARIABLE: &str = "TEST_KAFKA_BOOTSTRAP_SERVERS";

/// How long a topic may take to appear.
const TOPIC_PATIENCE: Duration = Duration::from_secs(30);

/// What a test talks to. Dropping it ends an embedded broker and deletes its data.
pub struct Kafka {
    bootstrap: String,
    embedded: Option<Embedded>,
}

struct Embedded {
    /// `None` while killed.
    broker: Option<Broker>,
    config: Config,
    _dir: TempDir,
}

impl Kafka {
    /// Apache Kafka if `TEST_KAFKA_BOOTSTRAP_SERVERS` is set, otherwise [`Kafka::own_broker`].
    ///
    /// # Panics
    /// When the embedded broker does not start.
    pub async fn start() -> Self {
        match std::env::var(BOOTSTRAP_VARIABLE) {
            Ok(bootstrap) if !bootstrap.is_empty() => Self {
                bootstrap,
                embedded: None,
            },
            _ => Self::own_broker().await,
        }
    }

    /// An embedded broker on a port and in a folder of its own, whatever the environment says.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn own_broker() -> Self {
        Self::own_broker_with(|_| {}).await
    }

    /// Like [`Kafka::own_broker`], with settings changed. Groups may have sessions as short as
    /// 50 ms here.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn own_broker_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = TempDir::with_prefix("broker-").expect("a folder for the embedded broker");
        let mut config = Config::new(dir.path());
        config.group.min_session_timeout = Duration::from_millis(50);
        change(&mut config);
        let broker = start(&config).await;
        // A restart must be found where the first start was.
        config.listen = broker.addr();
        Self {
            bootstrap: broker.addr().to_string(),
            embedded: Some(Embedded {
                broker: Some(broker),
                config,
                _dir: dir,
            }),
        }
    }

    /// `host:port` of what to connect to; several separated by commas.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The embedded broker; `None` on Apache Kafka and while killed.
    pub fn broker(&self) -> Option<&Broker> {
        self.embedded.as_ref()?.broker.as_ref()
    }

    /// The embedded broker's faults.
    ///
    /// # Panics
    /// When there is no embedded broker: such a test starts with [`Kafka::own_broker`].
    pub fn faults(&self) -> &broker::Faults {
        self.broker()
            .expect("only an embedded broker can be made to misbehave")
            .faults()
    }

    /// Ends the embedded broker as `kill -9` would; data and port stay.
    ///
    /// # Panics
    /// When there is no embedded broker.
    pub async fn kill_broker(&mut self) {
        let embedded = self.embedded.as_mut().expect("an embedded broker");
        if let Some(broker) = embedded.broker.take() {
            broker.kill().await;
        }
    }

    /// Ends the embedded broker in order; data and port stay.
    ///
    /// # Panics
    /// When there is no embedded broker.
    pub async fn stop_broker(&mut self) {
        let embedded = self.embedded.as_mut().expect("an embedded broker");
        if let Some(broker) = embedded.broker.take() {
            broker.shutdown().await;
        }
    }

    /// Starts the embedded broker again on its data and its port.
    ///
    /// # Panics
    /// When there is no embedded broker, it runs, or it does not start.
    pub async fn start_broker(&mut self) {
        let embedded = self.embedded.as_mut().expect("an embedded broker");
        assert!(embedded.broker.is_none(), "the embedded broker runs");
        embedded.broker = Some(start(&embedded.config).await);
    }

    /// Cuts a partition's log of the embedded broker, which was killed, so that it ends at `offset`: a
    /// disk that lost what was written last, as an unclean leader election loses it.
    ///
    /// # Panics
    /// When the broker runs, or no batch of the log's first segment ends there.
    pub fn cut_log(&self, topic: &str, partition: i32, offset: i64) {
        let embedded = self.embedded.as_ref().expect("an embedded broker");
        assert!(embedded.broker.is_none(), "the embedded broker runs");
        let folder = format!("topics/{topic}-{partition}");
        let path = embedded.config.data_dir.join(folder);
        let path = path.join(format!("{:020}.log", 0));
        let log = fs::read(&path).expect("the partition's first segment");
        let mut at = 0;
        loop {
            let field = |from: usize, length: usize| &log[at + from..at + from + length];
            assert!(
                at < log.len(),
                "no batch of {topic}-{partition} begins at {offset}"
            );
            // Base offset and length, as every batch begins.
            if i64::from_be_bytes(field(0, 8).try_into().expect("eight bytes")) == offset {
                break;
            }
            at += 12 + u32::from_be_bytes(field(8, 4).try_into().expect("four bytes")) as usize;
        }
        let file = fs::OpenOptions::new().write(true).open(&path);
        let cut = file.and_then(|file| file.set_len(at as u64));
        cut.expect("the log can be cut");
    }

    /// A raw connection to the (first) broker.
    ///
    /// # Panics
    /// When it cannot be reached.
    pub async fn connect(&self) -> Connection {
        let first = self.bootstrap.split(',').next().unwrap_or_default();
        Connection::open(first.trim()).await
    }

    /// Creates a topic and waits until every partition can be used.
    ///
    /// # Panics
    /// When it cannot be created, or exists already.
    pub async fn create_topic(&self, name: &str, partitions: i32) {
        self.create_topic_with(name, partitions, &[]).await;
    }

    /// Like [`Kafka::create_topic`], with settings by name and value.
    ///
    /// # Panics
    /// When it cannot be created, or exists already.
    pub async fn create_topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let configs = settings.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*name).to_owned()))
                .with_value(Some(StrBytes::from_string((*value).to_owned())))
        });
        let mut connection = self.connect().await;
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(TOPIC_PATIENCE.as_millis() as i32);
        let response = connection.call(&request, 5).await;
        for result in response.topics {
            if let Some(error) = result.error_code.err() {
                let reason = result.error_message.unwrap_or_default();
                panic!("cannot create topic {name}: {error} {reason}");
            }
        }
        self.until_led(name, partitions).await;
    }

    /// Waits until every partition of a topic can be used: Apache Kafka says that it has created a topic before every
    /// broker knows of it.
    ///
    /// # Panics
    /// When that takes half a minute.
    pub async fn until_led(&self, name: &str, partitions: i32) {
        eventually(TOPIC_PATIENCE, || async {
            self.is_led(name, partitions).await.then_some(())
        })
        .await;
    }

    /// Sets one of a topic's settings; some brokers follow a moment later.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn set_topic(&self, topic: &str, setting: &str, value: &str) {
        let config = AlterableConfig::default()
            .with_name(StrBytes::from_string(setting.to_owned()))
            // SET.
            .with_config_operation(0)
            .with_value(Some(StrBytes::from_string(value.to_owned())));
        let resource = AlterConfigsResource::default()
            // TOPIC.
            .with_resource_type(2)
            .with_resource_name(StrBytes::from_string(topic.to_owned()))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let response = self.connect().await.call(&request, 1).await;
        for result in response.responses {
            if let Some(error) = result.error_code.err() {
                let reason = result.error_message.unwrap_or_default();
                panic!("cannot set {setting} of {topic}: {error} {reason}");
            }
        }
    }

    /// Whether every partition has a leader that answers as such: Apache Kafka names one before it leads. The
    /// embedded broker does not, and may advertise an address where nobody is.
    async fn is_led(&self, name: &str, partitions: i32) -> bool {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![asked]))
            .with_allow_auto_topic_creation(false);
        let response = self.connect().await.call(&request, 5).await;
        let topic = &response.topics[0];
        if topic.error_code != 0 || topic.partitions.len() != partitions as usize {
            return false;
        }
        for partition in &topic.partitions {
            let leader = response
                .brokers
                .iter()
                .find(|broker| broker.node_id == partition.leader_id);
            let Some(leader) = leader else { return false };
            if self.broker().is_some() {
                continue;
            }
            let asked = ListOffsetsPartition::default()
                .with_partition_index(partition.partition_index)
                // The end of the log.
                .with_timestamp(-1);
            let asked = ListOffsetsTopic::default()
                .with_name(topic_name(name))
                .with_partitions(vec![asked]);
            let request = ListOffsetsRequest::default()
                .with_replica_id((-1).into())
                .with_topics(vec![asked]);
            let address = format!("{}:{}", leader.host, leader.port);
            let answer = Connection::open(&address).await.call(&request, 1).await;
            if answer.topics[0].partitions[0].error_code != 0 {
                return false;
            }
        }
        true
    }
}

async fn start(config: &Config) -> Broker {
    Broker::start(config.clone())
        .await
        .unwrap_or_else(|error| panic!("the embedded broker does not start: {error}"))
}

fn topic_name(name: &str) -> TopicName {
    StrBytes::from_string(name.to_owned()).into()
}
