//! An operator's word that offsets which no consumer can read are to be passed over.
//!
//! Only a member of a group may commit for it, so the word goes to whichever member has the partition: it is
//! a dead letter, a record on `<topic>-dlt` that has no value and says which offsets of which group are lost
//! and why. The consumer that is held by a batch looks for it there, and only then. So it needs no address
//! of that consumer, holds over restarts and rebalances, and is at the same time what remains of the records.

use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

use super::dead_letter::{
    ATTEMPTS, CONSUMER_GROUP, ORIGINAL_OFFSET, ORIGINAL_PARTITION, ORIGINAL_TIMESTAMP,
    ORIGINAL_TOPIC, ORIGINAL_TOPIC_ID, REASON, TIME,
};
use super::record::ConsumerRecord;
use super::topic_partition::TopicPartition;
use crate::admin::{Admin, OffsetAt};
use crate::error::Error;
use crate::producer::{OutgoingRecord, ProduceError, Producer};
use crate::records::{BatchError, MAX_OFFSET};
use crate::topic_id::TopicId;

/// Header of a skip: the last offset that is passed over, in decimal; `dlt-original-offset` is the first.
pub const LAST_OFFSET: &str = "dlt-last-offset";
/// Header of a skip: `true` where it may pass over more than the batch that holds the group.
pub const BEYOND: &str = "dlt-beyond-batch";

/// What is to be passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkipRequest {
    /// The group that is held.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset, at which the batch that cannot be read begins or in which it lies.
    pub first: i64,
    /// The last offset, inclusive.
    pub last: i64,
    /// Why, beside what is wrong with the batch; empty = nothing to add.
    pub reason: String,
    /// Also what lies behind the batch, readable or not.
    pub beyond: bool,
}

/// Why a skip was refused.
#[derive(Debug, thiserror::Error)]
pub enum SkipError {
    /// Kafka's answer, or none in time.
    #[error(transparent)]
    Kafka(#[from] Error),
    /// The record was not acknowledged.
    #[error("the skip was not acknowledged by {topic}: {source}")]
    NotWritten {
        /// The dead-letter topic.
        topic: String,
        /// Why.
        source: Box<ProduceError>,
    },
    /// There is no dead-letter topic to put it in.
    #[error("topic {0} does not exist: create it with as many partitions as its source")]
    NoLetters(String),
    /// The last offset is before the first.
    #[error("offsets {first} to {last} are no range")]
    NoRange {
        /// The first.
        first: i64,
        /// The last.
        last: i64,
    },
    /// Nothing needs to be passed over there.
    #[error(
        "{partition} offset {offset} can be read, or nothing lies there: there is nothing to pass over"
    )]
    Readable {
        /// Where.
        partition: TopicPartition,
        /// The first offset of the request.
        offset: i64,
    },
    /// It would commit an offset that the log does not have yet.
    #[error("{partition} ends before offset {end}, and offset {asked} lies behind that")]
    BehindTheLog {
        /// Where.
        partition: TopicPartition,
        /// The offset behind its last record.
        end: i64,
        /// The last offset of the request.
        asked: i64,
    },
    /// It would pass over records that may be good.
    #[error(
        "the batch that cannot be read ends at offset {}, and offset {asked} lies behind it",
        .batch.last.unwrap_or(.batch.offset)
    )]
    Beyond {
        /// The batch.
        batch: Box<BatchError>,
        /// The last offset of the request.
        asked: i64,
    },
}

impl Admin {
    /// Tells a group to pass over a batch that it cannot read, by a record on `<topic><suffix>`, and returns
    /// where that lies. The member that has the partition goes on within seconds, at once or whenever it is
    /// held there; once the group is past these offsets the record means nothing more.
    ///
    /// # Errors
    /// [`SkipError`]; with `beyond` a readable first offset is still refused.
    pub async fn skip(
        &self,
        producer: &Producer,
        suffix: &str,
        request: &SkipRequest,
    ) -> Result<(TopicPartition, i64), SkipError> {
        let SkipRequest {
            group,
            topic,
            partition,
            first,
            last,
            reason,
            beyond,
        } = request;
        if last < first || *first < 0 {
            return Err(SkipError::NoRange {
                first: *first,
                last: *last,
            });
        }
        let batch = self.unreadable_at(topic, *partition, *first).await?;
        let Some((batch, end)) = batch else {
            return Err(SkipError::Readable {
                partition: TopicPartition::new(topic.as_str(), *partition),
                offset: *first,
            });
        };
        if *last >= end {
            return Err(SkipError::BehindTheLog {
                partition: TopicPartition::new(topic.as_str(), *partition),
                end,
                asked: *last,
            });
        }
        if !beyond && batch.last.unwrap_or(batch.offset) < *last {
            return Err(SkipError::Beyond {
                batch: Box::new(batch),
                asked: *last,
            });
        }
        let letters = format!("{topic}{suffix}");
        let described = self.describe_topics(&[&letters]).await?;
        let Some(described) = described.first() else {
            return Err(SkipError::NoLetters(letters));
        };
        let to = letter_partition(*partition, described.partitions.len() as i32);
        let separator = if reason.is_empty() { "" } else { "; " };
        let mut texts = vec![
            (ORIGINAL_TOPIC, topic.clone()),
            (ORIGINAL_PARTITION, partition.to_string()),
            (ORIGINAL_OFFSET, first.to_string()),
            (LAST_OFFSET, last.to_string()),
            (CONSUMER_GROUP, group.clone()),
            (REASON, format!("{}{separator}{reason}", batch.problem)),
            (ATTEMPTS, "0".to_owned()),
            (ORIGINAL_TIMESTAMP, "-1".to_owned()),
            (TIME, now()),
        ];
        if *beyond {
            texts.push((BEYOND, "true".to_owned()));
        }
        if let Some(id) = self.topic_id(topic).await? {
            texts.push((ORIGINAL_TOPIC_ID, id.to_string()));
        }
        let headers: Vec<_> = texts
            .iter()
            .map(|(name, value)| (name.as_bytes(), Some(value.as_bytes())))
            .collect();
        let record = OutgoingRecord {
            topic: &letters,
            partition: Some(to),
            headers: &headers,
            ..OutgoingRecord::default()
        };
        match producer.send(&record).await {
            Ok(written) => Ok((TopicPartition::new(letters, to), written.offset)),
            Err(source) => Err(SkipError::NotWritten {
                topic: letters,
                source: Box::new(source),
            }),
        }
    }
}

fn now() -> String {
    DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Where the skips of a partition lie among `count` partitions of dead letters.
fn letter_partition(partition: i32, count: i32) -> i32 {
    partition % count.max(1)
}

/// A skip as its record says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    topic: String,
    partition: i32,
    group: String,
    topic_id: Option<TopicId>,
    first: i64,
    /// The last offset that is passed over.
    pub(crate) last: i64,
    beyond: bool,
    pub(crate) reason: String,
    /// Where it lies, for people.
    pub(crate) place: String,
}

impl Skip {
    fn read(record: &ConsumerRecord) -> Option<Self> {
        let text = |name: &str| record.headers.get_str(name);
        Some(Self {
            last: text(LAST_OFFSET)?.parse().ok()?,
            topic: text(ORIGINAL_TOPIC)?.to_owned(),
            partition: text(ORIGINAL_PARTITION)?.parse().ok()?,
            first: text(ORIGINAL_OFFSET)?.parse().ok()?,
            group: text(CONSUMER_GROUP)?.to_owned(),
            topic_id: match text(ORIGINAL_TOPIC_ID) {
                Some(id) => Some(id.parse().ok()?),
                None => None,
            },
            beyond: text(BEYOND) == Some("true"),
            reason: text(REASON).unwrap_or_default().to_owned(),
            place: format!("{}/{}/{}", record.topic, record.partition, record.offset),
        })
    }
}

/// Who looks for a skip, and what holds it.
pub(crate) struct Search {
    pub(crate) admin: Admin,
    /// The topic of dead letters.
    pub(crate) letters: String,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) group: Arc<str>,
    /// The offset that is held.
    pub(crate) offset: i64,
    /// The last one of the batch that holds it, if that is known.
    pub(crate) last: Option<i64>,
}

impl Search {
    /// Looks through the dead letters from `read_to` on (`None` = all there are) for a skip that lets the
    /// partition go on; `read_to` follows.
    pub(crate) async fn look(&self, read_to: &mut Option<i64>) -> Result<Option<Skip>, Error> {
        let described = self.admin.describe_topics(&[&self.letters]).await?;
        let Some(described) = described.first() else {
            return Ok(None);
        };
        let partition = letter_partition(self.partition, described.partitions.len() as i32);
        let of = TopicPartition::new(self.letters.as_str(), partition);
        let topic_id = self.admin.topic_id(&self.topic).await?;
        let mut at = match *read_to {
            Some(at) => at,
            None => self.beginning(&of).await?,
        };
        loop {
            let Some(fetched) = self.admin.fetch_at(&of, at).await? else {
                // Retention has passed it, or the topic was made again.
                *read_to = None;
                return Ok(None);
            };
            let (end, letters_id) = (fetched.end, fetched.topic_id);
            let mut walker = fetched.walk(&of, at);
            let mut broken = None;
            for walked in walker.by_ref() {
                let record = match walked {
                    Ok(crate::records::walker::Walked::Record(record)) => record,
                    Ok(_) => continue,
                    Err(error) => {
                        broken = Some(error);
                        break;
                    }
                };
                let record = ConsumerRecord::new(of.topic.clone(), letters_id, partition, record);
                if let Some(skip) = Skip::read(&record)
                    && self.accepts(&skip, topic_id)
                {
                    return Ok(Some(skip));
                }
            }
            let next = match broken {
                // A letter that cannot be read is no skip.
                Some(BatchError {
                    last: Some(last), ..
                }) => last + 1,
                Some(error) => return Err(error.into()),
                None => walker.next_offset(),
            };
            let stands = next <= at;
            at = at.max(next);
            *read_to = Some(at);
            if stands || at >= end {
                return Ok(None);
            }
        }
    }

    async fn beginning(&self, of: &TopicPartition) -> Result<i64, Error> {
        let offsets = self
            .admin
            .offsets(std::slice::from_ref(of), OffsetAt::Earliest)
            .await?;
        Ok(offsets.get(of).copied().unwrap_or_default())
    }

    /// Whether a skip is for this group, this topic and what holds it now. Where it goes beyond the batch
    /// without saying so, that is told: whoever wrote it did not know the batch.
    fn accepts(&self, skip: &Skip, topic_id: Option<TopicId>) -> bool {
        let ours = skip.topic == *self.topic
            && skip.partition == self.partition
            && skip.group == *self.group
            && (skip.first..=skip.last).contains(&self.offset)
            // Anybody may have written the record.
            && skip.last < MAX_OFFSET;
        if !ours {
            return false;
        }
        let same_topic = !TopicId::differ(skip.topic_id, topic_id);
        let within = skip.beyond || self.last.is_none_or(|last| skip.last <= last);
        if !same_topic || !within {
            tracing::warn!(
                group = %self.group, topic = %self.topic, partition = self.partition,
                offset = self.offset, skip = %skip.place,
                "a skip is ignored: {}",
                if same_topic {
                    "it goes beyond the batch that cannot be read, and does not say that it may"
                } else {
                    "it is for an earlier topic of this name"
                }
            );
        }
        same_topic && within
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ClientConfig;

    fn search(last: Option<i64>) -> Search {
        let client = crate::Client::new(ClientConfig::new("127.0.0.1:1").expect("good"));
        Search {
            admin: client.admin().with_timeout(Duration::from_secs(1)),
            letters: "orders-dlt".into(),
            topic: "orders".into(),
            partition: 2,
            group: "g".into(),
            offset: 17,
            last,
        }
    }

    fn id(id: u128) -> Option<TopicId> {
        TopicId::from_u128(id)
    }

    fn skip() -> Skip {
        Skip {
            topic: "orders".into(),
            partition: 2,
            group: "g".into(),
            topic_id: id(7),
            first: 17,
            last: 19,
            beyond: false,
            reason: String::new(),
            place: "orders-dlt/2/0".into(),
        }
    }

    #[tokio::test]
    async fn only_a_skip_for_what_holds_the_group_is_taken() {
        let search = search(Some(19));
        let taken = |skip: &Skip| search.accepts(skip, id(7));
        assert!(taken(&skip()));
        assert!(taken(&Skip { first: 3, ..skip() }));
        assert!(taken(&Skip {
            topic_id: None,
            ..skip()
        }));
        assert!(taken(&Skip {
            last: 90,
            beyond: true,
            ..skip()
        }));
        for other in [
            Skip {
                group: "h".into(),
                ..skip()
            },
            Skip {
                topic: "users".into(),
                ..skip()
            },
            Skip {
                partition: 1,
                ..skip()
            },
            Skip {
                first: 18,
                ..skip()
            },
            Skip {
                first: 3,
                last: 16,
                ..skip()
            },
            Skip { last: 20, ..skip() },
            Skip {
                topic_id: id(8),
                ..skip()
            },
        ] {
            assert!(!taken(&other), "{other:?}");
        }
    }

    #[tokio::test]
    async fn where_the_end_of_the_batch_is_unknown_the_operator_decides() {
        assert!(search(None).accepts(&Skip { last: 90, ..skip() }, id(7)));
    }
}
