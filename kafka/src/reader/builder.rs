//! What a reader is made with.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use futures::stream::FuturesUnordered;

use super::{Reader, Sight};
use crate::backoff::Jitter;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::consumer::TopicPartition;
use crate::consumer::fetcher::{FetchConfig, Fetcher};
use crate::error::ConfigError;
use crate::records::walker::IsolationLevel;

/// Where a [`Reader`] starts. Partitions that appear later are read from their first record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the first record that is still there.
    #[default]
    Earliest,
    /// Behind the last record.
    Latest,
    /// At these offsets; a partition that is not named starts at its first record.
    Offsets(HashMap<TopicPartition, i64>),
}

/// Builds a [`Reader`].
#[derive(Clone)]
pub struct ReaderBuilder {
    cluster: Arc<Cluster>,
    topics: Vec<Arc<str>>,
    start: Start,
    recreated: HashSet<Arc<str>>,
    fetch: FetchConfig,
}

impl Client {
    /// A reader of whole topics, without a group.
    pub fn reader(&self) -> ReaderBuilder {
        ReaderBuilder {
            cluster: self.cluster().clone(),
            topics: Vec::new(),
            start: Start::default(),
            recreated: HashSet::new(),
            fetch: FetchConfig::default(),
        }
    }
}

impl ReaderBuilder {
    /// The topics to read. At least one; one that does not exist yet is read once it does.
    pub fn topics<T: AsRef<str>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = topics
            .into_iter()
            .map(|topic| topic.as_ref().into())
            .collect();
        self.topics.sort();
        self.topics.dedup();
        self
    }

    /// Where to start. Default earliest.
    pub fn from(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Topics that were deleted and created again since the offsets of [`Start::Offsets`] were kept, as
    /// their [`TopicId`](crate::TopicId) says: they are read from their first record, and
    /// [`ReaderEvent::Reset`](super::ReaderEvent::Reset) says so of each partition that an offset was given
    /// for. Default: none.
    pub fn recreated(mut self, topics: impl IntoIterator<Item = Arc<str>>) -> Self {
        self.recreated = topics.into_iter().collect();
        self
    }

    /// Whether records of open and aborted transactions are seen. Default read committed.
    pub fn isolation(mut self, isolation: IsolationLevel) -> Self {
        self.fetch.isolation = isolation;
        self
    }

    /// Most bytes of one answer. Default 50 MiB. While 8 MiB wait to be taken, no more are asked for.
    pub fn fetch_max_bytes(mut self, bytes: usize) -> Self {
        self.fetch.max_bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        self
    }

    /// A reader; its fetching runs as tasks until it is dropped.
    ///
    /// # Errors
    /// No topics.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn build(self) -> Result<Reader, ConfigError> {
        if self.topics.is_empty() {
            return Err(ConfigError::new("topics", "name at least one topic"));
        }
        let (fetcher, fetched) = Fetcher::new(self.cluster.clone(), self.fetch.clone());
        let mut views = self.cluster.watch();
        views.mark_changed();
        let mut reader = Reader {
            views,
            cluster: self.cluster,
            isolation: self.fetch.isolation,
            topics: self
                .topics
                .into_iter()
                .map(|name| (name, Sight::Unknown))
                .collect(),
            start: self.start,
            recreated: self.recreated,
            fetcher,
            fetched,
            partitions: Vec::new(),
            chunks: VecDeque::new(),
            reading: None,
            passed_over: VecDeque::new(),
            events: VecDeque::new(),
            operations: FuturesUnordered::new(),
            jitter: Jitter::new(),
        };
        reader.look_for_topics(0);
        Ok(reader)
    }
}
