//! The dead-letter topics, as an operator sees them.

use std::collections::HashMap;
use std::time::Duration;

use kafka::{
    Admin, Client, ConfigError, Error, NO_TIMESTAMP, OffsetAt, OutgoingRecord, ProduceError,
    Producer, ResponseError, TopicId, TopicPartition, partition_for_key,
};
use proto::dead_letter::{Place, REPLAY_OF};
use proto::topics;
use service::config::KafkaConfig;
use service::kafka_glue::Scan;

use crate::DeadLetterError;
use crate::claim::Claim;
use crate::letter::{Entry, Letter, Marker, OwnedHeaders};

/// Access to dead letters and to where they came from.
pub struct Mailbox {
    client: Client,
    /// Of claims, markers and skips.
    pub(crate) producer: Producer,
    pub(crate) admin: Admin,
}

/// What dead-letter topics hold, of all letters or of one, without the letters themselves.
#[derive(Debug, Default)]
pub struct Survey {
    /// The one.
    only: Option<Place>,
    /// Letters with a marker, and where they were replayed to.
    pub replayed: HashMap<Place, Place>,
    /// Letters without one, and where they came from.
    pub open: HashMap<Place, Place>,
    /// The first claim of each letter that has one.
    pub claims: HashMap<Place, Claim>,
    /// How far each partition was read.
    read_to: HashMap<TopicPartition, i64>,
}

impl Survey {
    fn note(&mut self, entry: Entry) {
        let letter = match &entry {
            Entry::Letter(letter) => &letter.place,
            Entry::Claim(claim) => &claim.replay_of,
            Entry::Marker(marker) => &marker.replay_of,
            Entry::Unknown(_) => return,
        };
        if self.only.as_ref().is_some_and(|only| only != letter) {
            return;
        }
        match entry {
            // There is nothing to replay.
            Entry::Letter(letter) if letter.passed_over().is_some() => {}
            Entry::Letter(letter) => {
                self.open.insert(letter.place, letter.source);
            }
            Entry::Claim(claim) => {
                self.claims.entry(claim.replay_of.clone()).or_insert(claim);
            }
            Entry::Marker(marker) => {
                self.replayed.insert(marker.replay_of, marker.replayed_to);
            }
            Entry::Unknown(_) => {}
        }
    }
}

impl Mailbox {
    /// Connects to nothing yet. Every step is bounded by `timeout`.
    ///
    /// # Errors
    /// A configuration that makes no producer.
    pub fn new(
        client: Client,
        kafka: &KafkaConfig,
        timeout: Duration,
    ) -> Result<Self, ConfigError> {
        let producer = kafka.producer(&client).delivery_timeout(timeout).build()?;
        let admin = client.admin().with_timeout(timeout);
        Ok(Self {
            client,
            producer,
            admin,
        })
    }

    /// The dead-letter topics: the one given, or all there are.
    pub async fn topics(&self, only: Option<&str>) -> Result<Vec<String>, DeadLetterError> {
        let all = self.admin.topics().await?;
        let names = all.into_iter().map(|topic| topic.name.to_string());
        match only {
            None => Ok(names
                .filter(|name| topics::is_of_dead_letters(name))
                .collect()),
            Some(only) => match names.into_iter().find(|name| name == only) {
                Some(topic) => Ok(vec![topic]),
                None => Err(DeadLetterError::NoTopic(only.to_owned())),
            },
        }
    }

    /// The letter at a place.
    pub async fn letter(&self, place: &Place) -> Result<Letter, DeadLetterError> {
        let found = self
            .admin
            .read_record(&place.topic, place.partition, place.offset)
            .await?;
        match found.map(Entry::of) {
            Some(Entry::Letter(letter)) => Ok(*letter),
            _ => Err(DeadLetterError::NoLetter(place.clone())),
        }
    }

    /// A letter with all that its record has, which is read at its source where it was too large
    /// for the letter.
    pub async fn complete(&self, letter: &Letter) -> Result<Letter, DeadLetterError> {
        let Some(omitted) = letter.omitted() else {
            return Ok(letter.clone());
        };
        let source = &letter.source;
        let found = self
            .admin
            .read_record(&source.topic, source.partition, source.offset)
            .await;
        let found = match found {
            // Gone with its topic, or with its partition when the topic was created anew.
            Err(Error::UnknownTopic { .. } | Error::UnknownPartition { .. }) => None,
            found => found?,
        };
        match found.filter(|record| !TopicId::differ(record.topic_id, letter.source_id())) {
            Some(record) => Ok(letter.clone().completed(record)),
            None => Err(DeadLetterError::Gone {
                letter: letter.place.clone(),
                omitted: omitted.to_owned(),
                source_place: source.clone(),
            }),
        }
    }

    /// All entries of topics that are there now, in the order of each partition.
    pub async fn scan(&self, topics: &[String]) -> Result<Scan, DeadLetterError> {
        let from = self.beginnings(topics).await?;
        Ok(Scan::new(&self.client, &self.admin, from).await?)
    }

    /// The newest `most` entries of each partition of topics, and whether there are older ones. What is
    /// said of a letter lies behind it: so it is seen with all that became of it.
    pub async fn newest(
        &self,
        topics: &[String],
        most: i64,
    ) -> Result<(Scan, bool), DeadLetterError> {
        let partitions = self.partitions(topics).await?;
        Ok(Scan::newest(&self.client, &self.admin, &partitions, most).await?)
    }

    /// Goes once through topics of dead letters.
    pub async fn survey(&self, topics: &[String]) -> Result<Survey, DeadLetterError> {
        let mut survey = Survey {
            read_to: self.beginnings(topics).await?,
            ..Survey::default()
        };
        self.read_on(&mut survey).await?;
        Ok(survey)
    }

    /// Looks what has become of one letter: claims and markers lie behind it in its partition.
    pub async fn survey_one(&self, letter: &Place) -> Result<Survey, DeadLetterError> {
        let partition = TopicPartition::new(letter.topic.as_str(), letter.partition);
        let mut survey = Survey {
            only: Some(letter.clone()),
            read_to: HashMap::from([(partition, letter.offset)]),
            ..Survey::default()
        };
        self.read_on(&mut survey).await?;
        Ok(survey)
    }

    /// Takes in what has been added since, up to where the topics end now.
    pub async fn read_on(&self, survey: &mut Survey) -> Result<(), DeadLetterError> {
        let mut scan = Scan::new(&self.client, &self.admin, survey.read_to.clone()).await?;
        while let Some(records) = scan.next().await? {
            for record in records {
                survey.note(Entry::of(record));
            }
        }
        let ends = scan.ends().iter().map(|(of, end)| (of.clone(), *end));
        survey.read_to.extend(ends);
        survey
            .open
            .retain(|letter, _| !survey.replayed.contains_key(letter));
        Ok(())
    }

    /// Replays of a survey's open letters that are in the source topics.
    ///
    /// Nobody sends a letter without a claim behind it, and the first one says where its replay may be. That
    /// of an earlier version does not say from where on: then it is behind the letter's record, or anywhere in
    /// another partition.
    pub async fn replays(&self, survey: &Survey) -> Result<HashMap<Place, Place>, DeadLetterError> {
        let letters = &survey.open;
        let mut from: HashMap<TopicPartition, i64> = HashMap::new();
        for (letter, source) in letters {
            let Some(claim) = survey.claims.get(letter) else {
                continue;
            };
            let first = match claim.from {
                Some(from) => from,
                None if claim.partition == source.partition => source.offset.saturating_add(1),
                None => 0,
            };
            let partition = TopicPartition::new(source.topic.as_str(), claim.partition);
            let earliest = from.entry(partition).or_insert(i64::MAX);
            *earliest = (*earliest).min(first);
        }
        if from.is_empty() {
            return Ok(HashMap::new());
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

    /// A claim that nobody knows of yet: a new producer id, and the partition that the letter came
    /// from, if its topic still has it; otherwise where its key belongs.
    pub async fn new_claim(
        &self,
        letter: &Place,
        source: &Place,
    ) -> Result<Claim, DeadLetterError> {
        let described = self.admin.describe_topics(&[&source.topic]).await?;
        let count = match described.first() {
            Some(topic) => topic.partitions.len() as i32,
            None => {
                return Err(DeadLetterError::NoSource {
                    letter: letter.clone(),
                    topic: source.topic.clone(),
                });
            }
        };
        let partition = if source.partition < count {
            source.partition
        } else {
            match self.letter(letter).await?.key {
                Some(key) => partition_for_key(&key, count),
                None => source.partition % count,
            }
        };
        let of = TopicPartition::new(source.topic.as_str(), partition);
        let ends = self
            .admin
            .offsets(std::slice::from_ref(&of), OffsetAt::Latest)
            .await?;
        Ok(Claim {
            replay_of: letter.clone(),
            producer: self.admin.new_producer_id().await?,
            partition,
            from: ends.get(&of).copied(),
        })
    }

    /// Puts a claim behind its letter, in the letter's partition.
    pub async fn write_claim(&self, claim: &Claim) -> Result<(), DeadLetterError> {
        let written = self.add(&claim.replay_of, None, &claim.headers()).await;
        written.map_err(|source| DeadLetterError::NotClaimed {
            letter: claim.replay_of.clone(),
            source: Box::new(source),
        })
    }

    /// Puts a marker behind its letter, in the letter's partition.
    pub async fn write_marker(
        &self,
        marker: &Marker,
        key: Option<&[u8]>,
    ) -> Result<(), DeadLetterError> {
        let written = self.add(&marker.replay_of, key, &marker.headers()).await;
        written.map_err(|source| DeadLetterError::NotMarked {
            letter: marker.replay_of.clone(),
            replayed_to: marker.replayed_to.clone(),
            source: Box::new(source),
        })
    }

    async fn add(
        &self,
        letter: &Place,
        key: Option<&[u8]>,
        headers: &OwnedHeaders,
    ) -> Result<(), ProduceError> {
        let record = OutgoingRecord {
            topic: &letter.topic,
            partition: Some(letter.partition),
            key,
            headers: &borrowed(headers),
            ..OutgoingRecord::default()
        };
        match self.producer.send(&record).await {
            Err(error) if error.is_refused_time() => {
                let timeless = without_time(&record, &error);
                self.producer.send(&timeless).await.map(drop)
            }
            sent => sent.map(drop),
        }
    }

    /// Sends a letter's record as its claim says, and tells where it lies.
    pub async fn send(&self, letter: &Letter, claim: &Claim) -> Result<Place, DeadLetterError> {
        let complete = self.complete(letter).await?;
        let headers = complete.replay_headers();
        let record = OutgoingRecord {
            topic: &letter.source.topic,
            partition: Some(claim.partition),
            key: complete.key.as_deref(),
            value: complete.value.as_deref(),
            headers: &borrowed(&headers),
            timestamp: None,
        };
        let written = match self.admin.write_once(claim.producer, &record).await {
            // It was not written, and the id is as good as new.
            Err(error) if error.code() == Some(ResponseError::InvalidTimestamp) => {
                let timeless = without_time(&record, &error);
                self.admin.write_once(claim.producer, &timeless).await
            }
            written => written,
        };
        let written = written.map_err(|source| DeadLetterError::NotReplayed {
            letter: letter.place.clone(),
            source: Box::new(source),
        })?;
        let replayed_to = place(&written.topic, written.partition, written.offset);
        // Retention may have taken it since somebody else sent it.
        let found = self
            .admin
            .read_record(
                &replayed_to.topic,
                replayed_to.partition,
                replayed_to.offset,
            )
            .await?;
        let other = found.is_some_and(|record| {
            let replay_of = record.headers.get_str(REPLAY_OF).and_then(Place::parse);
            replay_of.as_ref() != Some(&letter.place)
        });
        if other {
            return Err(DeadLetterError::NotThere {
                letter: letter.place.clone(),
                replayed_to,
            });
        }
        Ok(replayed_to)
    }

    /// Where each partition of some topics begins.
    async fn beginnings(
        &self,
        topics: &[String],
    ) -> Result<HashMap<TopicPartition, i64>, DeadLetterError> {
        let partitions = self.partitions(topics).await?;
        let earliest = self.admin.offsets(&partitions, OffsetAt::Earliest).await?;
        Ok(earliest.into_iter().collect())
    }

    async fn partitions(&self, topics: &[String]) -> Result<Vec<TopicPartition>, DeadLetterError> {
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

/// The same without a time, which every topic takes: this machine's clock is wrong, and what is sent for
/// dead letters has the present as its time.
fn without_time<'a>(
    record: &OutgoingRecord<'a>,
    error: &impl std::fmt::Display,
) -> OutgoingRecord<'a> {
    tracing::warn!(
        "what is sent to {} has no time of its own: {error}",
        record.topic
    );
    OutgoingRecord {
        timestamp: Some(NO_TIMESTAMP),
        ..*record
    }
}

fn borrowed(headers: &OwnedHeaders) -> Vec<(&[u8], Option<&[u8]>)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_slice(), value.as_deref()))
        .collect()
}

fn place(topic: &str, partition: i32, offset: i64) -> Place {
    Place {
        topic: topic.to_owned(),
        partition,
        offset,
    }
}
