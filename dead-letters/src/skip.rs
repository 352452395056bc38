//! Offsets that nobody can read, passed over on an operator's word: see [`kafka::Admin::skip`].

use kafka::{SkipRequest, TopicPartition};
use proto::dead_letter::Place;
use proto::topics::DEAD_LETTER_SUFFIX;

use crate::DeadLetterError;
use crate::mailbox::Mailbox;

/// What an operator wants to be passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    pub topic: String,
    pub partition: i32,
    pub first: i64,
    /// Inclusive.
    pub last: i64,
    /// `None`: each group whose commit stands there.
    pub group: Option<String>,
    /// Empty = nothing to add to what is wrong with the batch.
    pub reason: String,
    /// Also what lies behind the batch that cannot be read.
    pub beyond: bool,
}

/// A group that was told, and the letter that tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    pub group: String,
    pub letter: Place,
}

impl Mailbox {
    /// Tells the groups that are held to pass over a batch that nobody can read, by a letter for each.
    ///
    /// # Errors
    /// [`DeadLetterError::NobodyHeld`], and what [`kafka::Admin::skip`] refuses. Groups told before an error
    /// stay told: to say it again does no harm.
    pub async fn skip(&self, wanted: &Skip) -> Result<Vec<Skipped>, DeadLetterError> {
        let groups = match &wanted.group {
            Some(group) => vec![group.clone()],
            None => self.groups_at(wanted).await?,
        };
        if groups.is_empty() {
            return Err(DeadLetterError::NobodyHeld {
                topic: wanted.topic.clone(),
                partition: wanted.partition,
                first: wanted.first,
                last: wanted.last,
            });
        }
        let mut skipped = Vec::with_capacity(groups.len());
        for group in groups {
            let request = SkipRequest {
                group: group.clone(),
                topic: wanted.topic.clone(),
                partition: wanted.partition,
                first: wanted.first,
                last: wanted.last,
                reason: wanted.reason.clone(),
                beyond: wanted.beyond,
            };
            let skip = self
                .admin
                .skip(&self.producer, DEAD_LETTER_SUFFIX, &request);
            let (of, offset) = skip.await?;
            let letter = Place {
                topic: of.topic.to_string(),
                partition: of.partition,
                offset,
            };
            skipped.push(Skipped { group, letter });
        }
        Ok(skipped)
    }

    /// Groups whose commit stands in the range.
    async fn groups_at(&self, wanted: &Skip) -> Result<Vec<String>, DeadLetterError> {
        let of = TopicPartition::new(wanted.topic.as_str(), wanted.partition);
        let mut found = Vec::new();
        for listed in self.admin.list_groups().await? {
            let committed = self.admin.committed_offsets(&listed.group).await?;
            let stands = committed
                .get(&of)
                .is_some_and(|commit| (wanted.first..=wanted.last).contains(&commit.offset));
            if stands {
                found.push(listed.group);
            }
        }
        Ok(found)
    }
}
