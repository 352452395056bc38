use std::time::Duration;

use kafka::{Client, ClientConfig, ConfigError, ConsumerBuilder, ProducerBuilder};

use crate::config::KafkaConfig;
use crate::instance::Instance;

/// Longest time to open a connection: a broker that swallows packets must not use up a request's
/// patience.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Java's default of `heartbeat.interval.ms`.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);

/// Before a group that refused this instance is joined again: the service's other groups go on.
const REFUSED_PAUSE: Duration = Duration::from_secs(5);

/// Java's default of `max.poll.interval.ms`. Kept apart from the processing time: handlers do not hold
/// up a rebalance.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

impl KafkaConfig {
    /// A client named `client_id`, not connected yet.
    ///
    /// # Errors
    /// The bootstrap servers cannot be read (found when the configuration was read, too).
    pub fn client(&self, client_id: &str) -> Result<Client, ConfigError> {
        let mut config = ClientConfig::new(&self.bootstrap_servers)?;
        client_id.clone_into(&mut config.client_id);
        config.connect_timeout = CONNECT_TIMEOUT;
        config.security = self.security.clone();
        config.request_timeout = self.request_timeout;
        config.metadata_max_age = self.metadata_max_age;
        Ok(Client::new(config))
    }

    /// A producer with the configured memory and compression.
    pub fn producer(&self, client: &Client) -> ProducerBuilder {
        client
            .producer()
            .buffer_memory(self.buffer_memory)
            .compression(self.compression)
    }

    /// A consumer of `group` with the configured start, strategies, static membership, session and
    /// processing time.
    pub fn consumer(&self, client: &Client, group: &str) -> ConsumerBuilder {
        client
            .consumer(group)
            .auto_offset_reset(self.auto_offset_reset)
            .assignors(self.strategies(group).iter().copied())
            .static_member(self.instance.as_ref().and_then(Instance::member).cloned())
            .retry_refused(REFUSED_PAUSE)
            .session_timeout(self.session_timeout)
            .max_processing_time(self.max_processing_time)
            .rebalance_timeout(REBALANCE_TIMEOUT)
            // Java's advice: no more than a third of the session.
            .heartbeat_interval(HEARTBEAT_INTERVAL.min(self.session_timeout / 3))
    }
}
