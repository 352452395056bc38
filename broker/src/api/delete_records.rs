//! DeleteRecords: moves a log's start up.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use kafka_protocol::protocol::VersionRange;

use super::{Api, Call, Reply, versions};
use crate::faults::Subject;

/// Stands for the end of the log.
const HIGH_WATERMARK: i64 = -1;

impl Api for DeleteRecordsRequest {
    const SERVED: VersionRange = versions(0, 2);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for topic in &self.topics {
            for partition in &topic.partitions {
                visit(Subject::Partition(&topic.name, partition.partition_index));
            }
        }
    }

    async fn handle(self, call: &Call) -> Reply<DeleteRecordsResponse> {
        let topics = self
            .topics
            .into_iter()
            .map(|topic| {
                let partitions = topic
                    .partitions
                    .iter()
                    .map(|asked| {
                        let index = asked.partition_index;
                        let deleted = delete(call, &topic.name, index, asked.offset);
                        let deleted = match call.disguise(&topic.name, index) {
                            Some(error) => Err(error),
                            None => deleted,
                        };
                        let result =
                            DeleteRecordsPartitionResult::default().with_partition_index(index);
                        match deleted {
                            Ok(start) => result.with_low_watermark(start),
                            Err(error) => {
                                result.with_low_watermark(-1).with_error_code(error.code())
                            }
                        }
                    })
                    .collect();
                DeleteRecordsTopicResult::default()
                    .with_name(topic.name)
                    .with_partitions(partitions)
            })
            .collect();
        Reply::Answer(DeleteRecordsResponse::default().with_topics(topics))
    }
}

fn delete(call: &Call, topic: &str, index: i32, offset: i64) -> Result<i64, ResponseError> {
    if let Some(error) = call.refusal(topic, index) {
        return Err(error);
    }
    let topics = &call.state.topics;
    let found = topics
        .get(topic)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let partition = found
        .partition(index)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    if !found.settings.deletes() {
        return Err(ResponseError::PolicyViolation);
    }
    let mut log = partition.log();
    let offset = match offset {
        HIGH_WATERMARK => log.end_offset(),
        offset => offset,
    };
    if !(0..=log.end_offset()).contains(&offset) {
        return Err(ResponseError::OffsetOutOfRange);
    }
    log.delete_before(offset).map_err(|error| {
        tracing::error!(topic, partition = index, offset, %error, "cannot delete records");
        ResponseError::KafkaStorageError
    })?;
    Ok(log.start_offset())
}
