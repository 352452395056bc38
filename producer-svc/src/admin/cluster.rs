use std::collections::BTreeMap;

use kafka::{Admin, Error, OffsetAt, TopicDescription, TopicPartition};

/// Topics and where their partitions begin and end, as Kafka has just said.
pub(super) struct Cluster {
    pub(super) topics: Vec<TopicDescription>,
    /// The first offset that is still there; partitions without a leader are missing.
    pub(super) first: BTreeMap<TopicPartition, i64>,
    /// Where the next record will be written, likewise.
    pub(super) end: BTreeMap<TopicPartition, i64>,
}

/// Looks that are begun anew because a topic was deleted meanwhile.
const AGAIN: usize = 5;

impl Cluster {
    pub(super) async fn look(admin: &Admin) -> Result<Self, Error> {
        for _ in 0..AGAIN {
            match Self::at_once(admin).await {
                Err(Error::UnknownTopic { .. } | Error::UnknownPartition { .. }) => {}
                looked => return looked,
            }
        }
        Self::at_once(admin).await
    }

    async fn at_once(admin: &Admin) -> Result<Self, Error> {
        let topics = admin.topics().await?;
        // A partition without a leader would keep the others waiting.
        let led: Vec<TopicPartition> = topics.iter().flat_map(led).collect();
        let (first, end) = tokio::try_join!(
            admin.offsets(&led, OffsetAt::Earliest),
            admin.offsets(&led, OffsetAt::Latest)
        )?;
        Ok(Self { topics, first, end })
    }
}

fn led(topic: &TopicDescription) -> impl Iterator<Item = TopicPartition> {
    topic
        .partitions
        .iter()
        .filter(|partition| partition.leader.is_some())
        .map(|partition| TopicPartition::new(topic.name.clone(), partition.partition))
}
