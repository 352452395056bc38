//! Records of some partitions, from given offsets to where the partitions end now, and perhaps a few
//! that come meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kafka::{
    Admin, Client, ConfigError, ConsumerRecord, Error, OffsetAt, Reader, ReaderEvent, Start,
    TopicPartition, Unreadable,
};
use tokio::time::Instant;

use super::explained;

/// How often a scan that gets nothing looks whether it is through: behind the last record may lie
/// markers of transactions, for which nothing is delivered.
const LOOK: Duration = Duration::from_millis(50);

/// A scan that gets no further for so long has lost its brokers.
const SILENCE: Duration = Duration::from_secs(30);

/// Why a scan did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("{}", explained(.0))]
    Kafka(#[from] Error),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{partition} was not read to its end, offset {end}: nothing came for half a minute")]
    Silent { partition: String, end: i64 },
}

/// A walk over records; see [`Scan::next`].
pub struct Scan {
    /// None: there is nothing to read.
    reader: Option<Reader>,
    ends: BTreeMap<TopicPartition, i64>,
    /// Partitions that are held at what cannot be read have ended.
    leaves_held: bool,
}

impl Scan {
    /// From these offsets on; of the same topics' other partitions, nothing.
    ///
    /// # Errors
    /// Kafka's.
    pub async fn new(
        client: &Client,
        admin: &Admin,
        mut from: HashMap<TopicPartition, i64>,
    ) -> Result<Self, ScanError> {
        let partitions: Vec<_> = from.keys().cloned().collect();
        let mut ends = admin.offsets(&partitions, OffsetAt::Latest).await?;
        ends.retain(|of, end| from.get(of).is_some_and(|first| first < end));
        if ends.is_empty() {
            return Ok(Self {
                reader: None,
                ends,
                leaves_held: false,
            });
        }
        let mut topics: Vec<&str> = ends.keys().map(|of| &*of.topic).collect();
        topics.dedup();
        // The reader takes whole topics: what is not wanted of them starts at its end.
        let described = admin.describe_topics(&topics).await?;
        let mut unwanted = Vec::new();
        for topic in &described {
            for partition in 0..topic.partitions.len() as i32 {
                let of = TopicPartition::new(topic.name.clone(), partition);
                if !ends.contains_key(&of) {
                    unwanted.push(of);
                }
            }
        }
        from.retain(|of, _| ends.contains_key(of));
        from.extend(admin.offsets(&unwanted, OffsetAt::Latest).await?);
        let reader = client
            .reader()
            .topics(&topics)
            .from(Start::Offsets(from))
            .build()?;
        Ok(Self {
            reader: Some(reader),
            ends,
            leaves_held: false,
        })
    }

    /// Over the newest `most` offsets of each partition; whether something older lies before.
    ///
    /// # Errors
    /// Kafka's.
    pub async fn newest(
        client: &Client,
        admin: &Admin,
        partitions: &[TopicPartition],
        most: i64,
    ) -> Result<(Self, bool), ScanError> {
        let first = admin.offsets(partitions, OffsetAt::Earliest).await?;
        let ends = admin.offsets(partitions, OffsetAt::Latest).await?;
        let mut older = false;
        let from = first.into_iter().map(|(of, first)| {
            let end = ends.get(&of).copied().unwrap_or(first);
            let from = first.max(end.saturating_sub(most));
            older |= from > first;
            (of, from)
        });
        let from = from.collect();
        Ok((Self::new(client, admin, from).await?, older))
    }

    /// Ends where a partition is held at a batch that cannot be read, instead of waiting for it: for whoever
    /// looks, and may be shown less than everything.
    #[must_use]
    pub fn leaving_what_is_held(mut self) -> Self {
        self.leaves_held = true;
        self
    }

    /// What could not be read so far.
    pub fn unreadable(&self) -> Vec<Unreadable> {
        self.reader
            .as_ref()
            .map_or_else(Vec::new, Reader::unreadable)
    }

    /// Where it ends, of the partitions that had something to read.
    pub fn ends(&self) -> &BTreeMap<TopicPartition, i64> {
        &self.ends
    }

    /// The next records, of one partition; none at the end.
    ///
    /// # Errors
    /// Nothing came for half a minute.
    ///
    /// # Cancellation
    /// Safe: nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Vec<ConsumerRecord>>, ScanError> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let mut heard = Instant::now();
        let mut before = None;
        loop {
            let positions = reader.positions();
            let held = match self.leaves_held {
                true => reader.unreadable(),
                false => Vec::new(),
            };
            let left = self.ends.iter().find(|(of, end)| {
                let through =
                    |(at, position): &(TopicPartition, i64)| at == *of && position >= *end;
                let is_held = |it: &Unreadable| it.holds && it.partition == **of;
                !positions.iter().any(through) && !held.iter().any(is_held)
            });
            let Some((left, end)) = left else {
                return Ok(None);
            };
            if before.as_ref() != Some(&positions) {
                heard = Instant::now();
            } else if heard.elapsed() > SILENCE {
                return Err(ScanError::Silent {
                    partition: left.to_string(),
                    end: *end,
                });
            }
            before = Some(positions);
            let Ok(event) = tokio::time::timeout(LOOK, reader.next_batch()).await else {
                continue;
            };
            // What retention takes meanwhile is gone for the operator, too.
            if let ReaderEvent::Records(records) = event {
                return Ok(Some(records));
            }
        }
    }
}
