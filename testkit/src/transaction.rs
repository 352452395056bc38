//! A transaction of another program's, left open: what its owner does who dies in between.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ApiKey, ApiVersionsRequest, EndTxnRequest, FindCoordinatorRequest,
    InitProducerIdRequest, ProduceRequest, ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use crate::raw::Connection;
use crate::{Kafka, eventually, unique};

/// How long Kafka may take to create and load the partitions in which it keeps transactions.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than any test: Kafka is not to end it by itself.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Key type of a transaction's coordinator.
const TRANSACTION: i8 = 1;

/// An open transaction with one record.
pub struct Transaction {
    coordinator: Connection,
    id: TransactionalId,
    pub producer_id: i64,
    pub producer_epoch: i16,
}

impl Transaction {
    /// Begins one and writes a record to the partition. `None` from a broker that has no transactions, as the embedded
    /// one.
    ///
    /// # Panics
    /// When a request is refused.
    pub async fn begin(kafka: &Kafka, topic: &str, partition: i32) -> Option<Self> {
        let mut connection = kafka.connect().await;
        let versions = connection.call(&ApiVersionsRequest::default(), 0).await;
        let key = ApiKey::AddPartitionsToTxn as i16;
        if !versions.api_keys.iter().any(|api| api.api_key == key) {
            return None;
        }
        let id = TransactionalId(text(&unique("transaction")));
        // Kafka makes the topic of its transactions when somebody asks for a coordinator, not before.
        let find = FindCoordinatorRequest::default()
            .with_key(id.0.clone())
            .with_key_type(TRANSACTION);
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(id.clone()))
            .with_transaction_timeout_ms(TIMEOUT.as_millis() as i32);
        let (mut coordinator, producer) = eventually(PATIENCE, || async {
            let found = kafka.connect().await.call(&find, 3).await;
            if found.error_code != 0 {
                return None;
            }
            let mut coordinator = Connection::open(&format!("{}:{}", found.host, found.port)).await;
            let answer = coordinator.call(&init, 4).await;
            (answer.error_code == 0).then_some((coordinator, answer))
        })
        .await;
        let of_topic = AddPartitionsToTxnTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let add = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(id.clone())
            .with_v3_and_below_producer_id(producer.producer_id)
            .with_v3_and_below_producer_epoch(producer.producer_epoch)
            .with_v3_and_below_topics(vec![of_topic]);
        let added = coordinator.call(&add, 3).await;
        let of_topic = &added.results_by_topic_v3_and_below[0];
        let code = of_topic.results_by_partition[0].partition_error_code;
        assert_eq!(code, 0, "AddPartitionsToTxn of {topic}-{partition}");
        let transaction = Self {
            coordinator,
            id,
            producer_id: *producer.producer_id,
            producer_epoch: producer.producer_epoch,
        };
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(transaction.batch()));
        let data = TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_partition_data(vec![data]);
        let produce = ProduceRequest::default()
            .with_transactional_id(Some(transaction.id.clone()))
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![data]);
        let answer = connection.call(&produce, 9).await;
        let code = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(code, 0, "Produce to {topic}-{partition}");
        Some(transaction)
    }

    /// Gives it up: those behind it are read again.
    ///
    /// # Panics
    /// When that is refused.
    pub async fn abort(mut self) {
        let end = EndTxnRequest::default()
            .with_transactional_id(self.id)
            .with_producer_id(ProducerId(self.producer_id))
            .with_producer_epoch(self.producer_epoch)
            .with_committed(false);
        let answer = self.coordinator.call(&end, 3).await;
        assert_eq!(answer.error_code, 0, "EndTxn");
    }

    fn batch(&self) -> Bytes {
        let record = Record {
            transactional: true,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            timestamp_type: TimestampType::Creation,
            offset: 0,
            sequence: 0,
            // Retention would delete an older one, and end what it holds up.
            timestamp: now(),
            key: Some(Bytes::from_static(b"k")),
            value: Some(Bytes::from_static(b"v")),
            headers: Default::default(),
        };
        let options = RecordEncodeOptions {
            version: 2,
            compression: Compression::None,
        };
        let mut batch = BytesMut::new();
        RecordBatchEncoder::encode(&mut batch, [&record], &options).expect("a batch");
        batch.freeze()
    }
}

/// In milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_millis() as i64
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(topic: &str) -> TopicName {
    text(topic).into()
}
