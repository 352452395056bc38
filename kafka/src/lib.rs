//! A Kafka client without librdkafka: an idempotent batching producer, consumer groups with manual
//! commits, key-ordered parallel handling, retries and dead letters, and what operators need.
//!
//! Look first at [`Client`], from which everything is made. Then:
//!
//! - `connection` → `versions`: one TCP connection, requests pipelined, versions negotiated;
//! - `security`: TLS and SASL, and why a broker and this client do not accept each other;
//! - `cluster`: metadata, leaders, and connections pooled by purpose;
//! - `records`: batches written in place and read without copying;
//! - `producer`: batches by partition, shipped by broker, in sequence;
//! - `consumer`: membership, fetching, lanes, commits; `reader`: whole topics without a group;
//! - `admin`: topics, offsets, groups, configuration, single records.

mod admin;
mod backoff;
mod client;
mod cluster;
mod connection;
mod consumer;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod partitioner;
mod producer;
mod reader;
mod records;
mod security;
mod topic_id;
mod versions;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use self::{
    admin::{
        Admin, CommittedOffset, ConfigEntry, CreatedTopic, Ends, GroupDescription, GroupKind,
        GroupListing, GroupMember, NewTopic, OffsetAt, OpenTransaction, PartitionDescription,
        PartitionLag, SilentLeader, TopicDescription, TopicsLook,
    },
    client::{Client, ClientConfig},
    consumer::{
        Assignor, AutoOffsetReset, Consumer, ConsumerBuilder, ConsumerError, ConsumerRecord,
        ConsumerState, ConsumerStats, ConsumerStatsHandle, DeadLetters, GroupError, Handler,
        HeldBatch, InFlightRecord, Lane, NewPartition, Outcome, Outcomes, PartitionListener,
        PartitionStats, Report, RetryPolicy, SkipError, SkipRequest, StartAt, StaticMember,
        TopicPartition, TopicStats, UnknownAssignor, dead_letter,
    },
    error::{ConfigError, Error, ResponseError},
    partitioner::{murmur2, partition_for_key},
    producer::{
        Delivery, EncodedRecord, NO_TIMESTAMP, Outgoing, OutgoingRecord, ProduceError, Producer,
        ProducerBuilder, ProducerId, ProducerStats, RecordMetadata,
    },
    reader::{Reader, ReaderBuilder, ReaderEvent, Start, Unreadable},
    records::{
        BatchError, BatchProblem, Compression, EncodedHeaders, HeaderTemplate, Headers,
        OutgoingHeaders, UnknownCompression, walker::IsolationLevel,
    },
    security::{Refusal, Sasl, SaslMechanism, Security, Tls, TlsBuilder, UnknownSaslMechanism},
    topic_id::{InvalidTopicId, TopicId},
};
