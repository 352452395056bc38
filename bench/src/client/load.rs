//! The records that every case handles, and the topics that hold them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::Utc;
use kafka::{ClientConfig, Compression, Tls};
use rskafka::client::partition::{PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;

use super::Failure;

/// A key of this many digits, so that a million keys differ and hash evenly.
const KEY_BYTES: usize = 10;
/// Milliseconds that the broker may take to create or delete a topic.
const TOPIC_TIMEOUT: i32 = 30_000;

/// How many records, how large, with or without headers, over how many partitions.
#[derive(Clone, Debug)]
pub struct Load {
    pub records: u64,
    /// Key and value together; headers come on top.
    pub bytes: usize,
    pub partitions: i32,
    pub headers: bool,
    /// Of what our producer sends; rskafka is always bare.
    pub compression: Compression,
    /// Where ours connects with TLS; rskafka never does.
    pub tls: Option<TlsListener>,
}

/// The brokers' listener with TLS, and the certificate to trust there.
#[derive(Clone, Debug)]
pub struct TlsListener {
    pub address: String,
    pub ca: PathBuf,
}

/// Seven headers as the shop's events have them, of their real sizes.
pub const HEADERS: [(&str, &str); 7] = [
    ("ce_specversion", "1.0"),
    ("ce_id", "0190163d-8694-739b-aea5-966c26f8ad91"),
    ("ce_type", "OrderPlaced"),
    ("ce_source", "/producer-svc"),
    ("ce_time", "2026-01-31T12:34:56.789012Z"),
    ("content-type", "application/json"),
    (
        "traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
];

impl Load {
    /// The bytes of a record after its key.
    pub fn value(&self) -> Vec<u8> {
        vec![b'v'; self.bytes.saturating_sub(KEY_BYTES)]
    }

    /// Written over the buffer of the record before: the producer copies what it is lent.
    pub fn key(index: u64) -> [u8; KEY_BYTES] {
        let mut key = [b'0'; KEY_BYTES];
        let mut rest = index;
        for digit in key.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        key
    }

    /// What rskafka takes: it wants to own key, value and headers.
    pub fn owned(&self, index: u64, value: &[u8]) -> Record {
        let headers = if self.headers {
            HEADERS
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
                .collect()
        } else {
            BTreeMap::new()
        };
        Record {
            key: Some(Self::key(index).to_vec()),
            value: Some(value.to_vec()),
            headers,
            timestamp: Utc::now(),
        }
    }

    /// The records of one partition when they are dealt out evenly.
    pub fn share(&self, partition: i32) -> std::iter::StepBy<std::ops::Range<u64>> {
        (u64::from(partition.unsigned_abs())..self.records)
            .step_by(self.partitions.unsigned_abs() as usize)
    }
}

/// Our client, with TLS if the load wants it, and an open connection.
pub async fn ours(bootstrap: &str, load: &Load) -> Result<kafka::Client, Failure> {
    let config = match &load.tls {
        None => ClientConfig::new(bootstrap)?,
        Some(TlsListener { address, ca }) => {
            let mut config = ClientConfig::new(address)?;
            let tls = Tls::builder().ca_location(ca).build();
            let tls = tls.map_err(|mistakes| format!("--tls: {mistakes:?}"))?;
            config.security.tls = Some(tls);
            config
        }
    };
    let client = kafka::Client::new(config);
    client.ready().await?;
    Ok(client)
}

/// Connects rskafka, for the topics and for its own cases.
pub async fn connect(bootstrap: &str) -> Result<Client, Failure> {
    let servers = bootstrap.split(',').map(str::to_owned).collect();
    Ok(ClientBuilder::new(servers)
        .client_id("bench")
        .build()
        .await?)
}

/// Creates it and waits until every partition has a leader.
pub async fn create_topic(client: &Client, topic: &str, partitions: i32) -> Result<(), Failure> {
    client
        .controller_client()?
        .create_topic(topic, partitions, 1, TOPIC_TIMEOUT)
        .await?;
    for partition in 0..partitions {
        partition_client(client, topic, partition).await?;
    }
    Ok(())
}

pub async fn delete_topic(client: &Client, topic: &str) -> Result<(), Failure> {
    Ok(client
        .controller_client()?
        .delete_topic(topic, TOPIC_TIMEOUT)
        .await?)
}

pub(super) async fn partition_client(
    client: &Client,
    topic: &str,
    partition: i32,
) -> Result<PartitionClient, Failure> {
    Ok(client
        .partition_client(topic, partition, UnknownTopicHandling::Retry)
        .await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_size_that_was_asked_for() {
        let load = Load {
            records: 10,
            bytes: 100,
            partitions: 3,
            headers: true,
            compression: Compression::None,
            tls: None,
        };
        let record = load.owned(7, &load.value());
        assert_eq!(record.key.as_deref(), Some(&b"0000000007"[..]));
        assert_eq!(
            record.key.map_or(0, |key| key.len()) + record.value.map_or(0, |value| value.len()),
            100
        );
        assert_eq!(record.headers.len(), 7);
    }

    #[test]
    fn the_shares_cover_the_load_once() {
        let load = Load {
            records: 10,
            bytes: 100,
            partitions: 3,
            headers: false,
            compression: Compression::None,
            tls: None,
        };
        let mut all: Vec<u64> = (0..3).flat_map(|partition| load.share(partition)).collect();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }
}
