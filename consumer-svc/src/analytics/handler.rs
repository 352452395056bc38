use std::sync::Arc;
use std::time::Duration;

use kafka::{ConsumerRecord, Handler, Lane, Outcome, TopicPartition};
use proto::dead_letter::is_for_another_group;
use proto::headers::CE_SOURCE;
use proto::{Amounts, BookEvent, DecodeError, ReceivedHeaders};

use super::fact::{Fact, number};
use super::keeper::{Keeper, Recorded};
use super::metrics::AnalyticsMetrics;
use super::store::Position;

/// How long a record waits for room in memory before the consumer pauses.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes book events into the statistics.
pub(crate) struct AnalyticsHandler {
    /// The group it handles for.
    pub(crate) group: String,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) metrics: AnalyticsMetrics,
    /// The unit of other systems' amounts.
    pub(crate) amounts: Amounts,
}

/// `ce_source` of producer-svc, which writes minor units whatever others write.
const OURS: &[u8] = b"/producer-svc";

impl Handler for AnalyticsHandler {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        let place = TopicPartition::new(record.topic.clone(), record.partition);
        let Some(epoch) = self.keeper.epoch(&place) else {
            return gone();
        };
        let (id, offset) = (record.topic_id, record.offset);
        if let Err(error) = self.keeper.begin_at(&place, epoch, id, offset).await {
            return Outcome::Unavailable(format!(
                "the database does not take where the partition begins: {error}"
            ));
        }
        let next = Position {
            offset: record.offset + 1,
            leader_epoch: record.leader_epoch,
        };
        let fact = match self.read(record) {
            Ok(fact) => fact,
            Err(error) => {
                self.metrics.invalid.inc();
                // The group's commit holds its place until it is with the dead letters.
                return match self
                    .keeper
                    .record(&place, epoch, record.topic_id, next, None)
                {
                    Recorded::Gone => gone(),
                    _ => Outcome::Reject(error.to_string()),
                };
            }
        };
        loop {
            match (self.keeper).record(&place, epoch, record.topic_id, next, fact.clone()) {
                Recorded::Taken => return Outcome::Done,
                Recorded::Gone => return gone(),
                Recorded::Full => {
                    let waited = tokio::time::timeout(PATIENCE, self.keeper.room()).await;
                    if waited.is_err() {
                        return Outcome::Unavailable(
                            "the statistics in memory wait for the database".to_owned(),
                        );
                    }
                }
            }
        }
    }

    /// A partition's records one after another.
    fn lane(&self, record: &ConsumerRecord) -> Lane {
        let kind = self.keeper.kind(&record.topic).map_or(-1, number);
        let partition = u64::from(record.partition.cast_unsigned());
        Lane::Key(kind.cast_unsigned() << 32 | partition)
    }

    async fn probe(&self) -> bool {
        self.keeper.takes().await
    }
}

impl AnalyticsHandler {
    fn read(&self, record: &ConsumerRecord) -> Result<Option<Fact>, DecodeError> {
        let header = |name: &str| record.headers.get(name);
        if is_for_another_group(&self.group, header) {
            return Ok(None);
        }
        let Some(kind) = self.keeper.kind(&record.topic) else {
            return Ok(None);
        };
        let value = record.value.as_deref().ok_or(DecodeError::Null)?;
        let amounts = match self.amounts {
            Amounts::Major if header(CE_SOURCE) != Some(OURS) => Amounts::Major,
            _ => Amounts::Minor,
        };
        let event = BookEvent::decode(value, kind, amounts)?;
        Ok(Fact::of(&event, ReceivedHeaders::read(header).id))
    }
}

/// The partition was given up while the record was on its way: whoever has it now reads the record, and here nothing
/// must become of it.
fn gone() -> Outcome {
    Outcome::Unavailable("the partition is not this instance's any more".to_owned())
}
