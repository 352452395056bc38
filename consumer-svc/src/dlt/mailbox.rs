//! The dead-letter topics, as the commands see them.

use std::collections::HashMap;

use kafka::{Admin, Client, OffsetAt, OutgoingRecord, ProduceError, Producer, TopicPartition};
use proto::dead_letter::{Place, REPLAY_OF};
use proto::topics::DEAD_LETTER_SUFFIX;
use service::config::Common;

use super::DltError;
use super::letter::{Entry, Letter, OwnedHeaders};
use super::scan::Scan;

/// Largest record that is replayed: 100 MiB, what a broker reads (`socket.request.max.bytes`).
const MAX_RECORD: usize = 100 * 1024 * 1024;

/// Access to dead letters and to where they came from.
pub struct Mailbox {
    client: Client,
    producer: Producer,
    admin: Admin,
}

/// What dead-letter topics hold, without the letters themselves.
#[derive(Debug, Default)]
pub struct Survey {
    /// Letters with a marker, and where they were replayed to.
    pub replayed: HashMap<Place, Place>,
    /// Letters without one, and where they came from.
    pub open: HashMap<Place, Place>,
}

impl Mailbox {
    /// Connects to nothing yet. Every step is bounded by `REQUEST_TIMEOUT`.
    pub fn open(common: &Common) -> Result<Self, DltError> {
        let client = common.kafka.client(crate::NAME)?;
        let timeout = common.http.request_timeout;
        let producer = common
            .kafka
            .producer(&client)
            .delivery_timeout(timeout)
            // A record that was too large for a letter may go back to where it came from.
            .max_request_size(MAX_RECORD)
            .buffer_memory(MAX_RECORD)
            .build()?;
        let admin = client.admin().with_timeout(timeout);
        Ok(Self {
            client,
            producer,
            admin,
        })
    }

    /// The dead-letter topics: the one given, or all there are.
    pub async fn topics(&self, only: Option<&str>) -> Result<Vec<String>, DltError> {
        let all = self.admin.topics().await?;
        let names = all.into_iter().map(|topic| topic.name.to_string());
        match only {
            None => Ok(names
                .filter(|name| name.ends_with(DEAD_LETTER_SUFFIX))
                .collect()),
            Some(only) => match names.into_iter().find(|name| name == only) {
                Some(topic) => Ok(vec![topic]),
                None => Err(DltError::NoTopic(only.to_owned())),
            },
        }
    }

    /// The letter at a place.
    pub async fn letter(&self, place: &Place) -> Result<Letter, DltError> {
        let found = self
            .admin
            .read_record(&place.topic, place.partition, place.offset)
            .await?;
        match found.map(Entry::of) {
            Some(Entry::Letter(letter)) => Ok(letter),
            _ => Err(DltError::NoLetter(place.clone())),
        }
    }

    /// A letter with all that its record has, which is read at its source where it was too large
    /// for the letter.
    pub async fn complete(&self, letter: &Letter) -> Result<Letter, DltError> {
        let Some(omitted) = letter.omitted() else {
            return Ok(letter.clone());
        };
        let source = &letter.source;
        let found = self
            .admin
            .read_record(&source.topic, source.partition, source.offset)
            .await?;
        match found {
            Some(record) => Ok(letter.clone().completed(record)),
            None => Err(DltError::Gone {
                letter: letter.place.clone(),
                omitted: omitted.to_owned(),
                source_place: source.clone(),
            }),
        }
    }

    /// All entries of topics that are there now, in the order of each partition.
    pub async fn scan(&self, topics: &[String]) -> Result<Scan, DltError> {
        let partitions = self.partitions(topics).await?;
        let earliest = self.admin.offsets(&partitions, OffsetAt::Earliest).await?;
        Scan::new(&self.client, &self.admin, earliest.into_iter().collect()).await
    }

    /// Goes once through topics of dead letters.
    pub async fn survey(&self, topics: &[String]) -> Result<Survey, DltError> {
        let mut survey = Survey::default();
        let mut scan = self.scan(topics).await?;
        while let Some(records) = scan.next().await? {
            for record in records {
                match Entry::of(record) {
                    Entry::Letter(letter) => {
                        survey.open.insert(letter.place, letter.source);
                    }
                    Entry::Marker(marker) => {
                        survey.replayed.insert(marker.replay_of, marker.replayed_to);
                    }
                    Entry::Unknown(_) => {}
                }
            }
        }
        survey
            .open
            .retain(|letter, _| !survey.replayed.contains_key(letter));
        Ok(survey)
    }

    /// Replays of letters (with their sources) that are in the source topics, whether they have
    /// markers or not.
    ///
    /// A replay goes to the partition that its record came from, behind it, so that is where they
    /// are looked for.
    pub async fn replays(
        &self,
        letters: &HashMap<Place, Place>,
    ) -> Result<HashMap<Place, Place>, DltError> {
        let mut from: HashMap<TopicPartition, i64> = HashMap::new();
        for source in letters.values() {
            let partition = TopicPartition::new(source.topic.as_str(), source.partition);
            let first = from.entry(partition).or_insert(i64::MAX);
            *first = (*first).min(source.offset.saturating_add(1));
        }
        let names: Vec<&str> = from.keys().map(|of| &*of.topic).collect();
        let known = self.admin.describe_topics(&names).await?;
        from.retain(|of, _| {
            known.iter().any(|topic| {
                topic.name == of.topic && (of.partition as usize) < topic.partitions.len()
            })
        });
        let mut replays = HashMap::new();
        let mut scan = Scan::new(&self.client, &self.admin, from).await?;
        while let Some(records) = scan.next().await? {
            for record in records {
                let replay_of = record.headers.get_str(REPLAY_OF).and_then(Place::parse);
                if let Some(letter) = replay_of.filter(|letter| letters.contains_key(letter)) {
                    let place = place(&record.topic, record.partition, record.offset);
                    replays.entry(letter).or_insert(place);
                }
            }
        }
        Ok(replays)
    }

    /// The partition that a letter came from, if its topic still has it; else none, and the key
    /// decides.
    pub async fn source_partition(&self, letter: &Letter) -> Result<Option<i32>, DltError> {
        let source = &letter.source;
        let described = self.admin.describe_topics(&[&source.topic]).await?;
        match described.first() {
            Some(topic) if (source.partition as usize) < topic.partitions.len() => {
                Ok(Some(source.partition))
            }
            Some(_) => Ok(None),
            None => Err(DltError::NoTopic(source.topic.clone())),
        }
    }

    /// Sends a record and waits until it is acknowledged; says where it lies.
    pub async fn send(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &OwnedHeaders,
    ) -> Result<Place, ProduceError> {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_deref()))
            .collect();
        let written = self
            .producer
            .send(&OutgoingRecord {
                topic,
                partition,
                key,
                value,
                headers: &headers,
                timestamp: None,
            })
            .await?;
        Ok(place(&written.topic, written.partition, written.offset))
    }

    async fn partitions(&self, topics: &[String]) -> Result<Vec<TopicPartition>, DltError> {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        let described = self.admin.describe_topics(&names).await?;
        let of = |topic: &kafka::TopicDescription| {
            let name = topic.name.clone();
            let count = topic.partitions.len() as i32;
            (0..count).map(move |partition| TopicPartition::new(name.clone(), partition))
        };
        Ok(described.iter().flat_map(of).collect())
    }
}

pub(super) fn place(topic: &str, partition: i32, offset: i64) -> Place {
    Place {
        topic: topic.to_owned(),
        partition,
        offset,
    }
}
