//! Reads the answer to a produce request, partition by partition.

use std::sync::Arc;

use kafka_protocol::messages::{
    ApiKey, ProduceResponse,
    produce_response::{PartitionProduceResponse, TopicProduceResponse},
};

use super::{
    delivery::Acked,
    queue::Answer,
    topic::Partition,
    verdict::{Verdict, judge},
};
use crate::error::{Error, ResponseError};

/// The answers of a response. Brokers keep the order of the request, so that each is looked for behind
/// the one before.
pub(super) struct Answers {
    topics: Vec<(TopicProduceResponse, usize)>,
}

impl Answers {
    pub(super) fn new(response: ProduceResponse) -> Self {
        Self {
            topics: response
                .responses
                .into_iter()
                .map(|topic| (topic, 0))
                .collect(),
        }
    }

    pub(super) fn of(&mut self, partition: &Partition) -> Option<&PartitionProduceResponse> {
        let (topic, next) = self
            .topics
            .iter_mut()
            .find(|(topic, _)| topic.name == partition.wire_topic)?;
        let is_its = |answer: &PartitionProduceResponse| answer.index == partition.index;
        if !topic.partition_responses.get(*next).is_some_and(is_its) {
            *next = topic.partition_responses.iter().position(is_its)?;
        }
        *next += 1;
        topic.partition_responses.get(*next - 1)
    }
}

/// What the broker says of a partition's batch.
pub(super) fn answer_of(answer: &PartitionProduceResponse, partition: &Partition) -> Answer {
    let code = ResponseError::try_from_code(answer.error_code);
    let verdict = judge(code);
    // Which record the broker objects to, and why (KIP-467).
    let message = answer
        .record_errors
        .iter()
        .find_map(|error| error.batch_index_error_message.as_ref())
        .or(answer.error_message.as_ref())
        .map(|message| Arc::<str>::from(message.as_str()));
    let cause = code.map(|code| {
        let what = format!("{}-{}", partition.topic, partition.index);
        Arc::new(Error::response(ApiKey::Produce, code, what))
    });
    Answer {
        verdict,
        code,
        acked: Acked {
            base_offset: answer.base_offset,
            append_time: answer.log_append_time_ms,
        },
        message,
        cause,
    }
}

/// The request may have been carried out.
pub(super) fn unanswered(error: Error) -> Answer {
    let (verdict, code) = match &error {
        // It was never sent, and no broker of this version will take it.
        Error::UnsupportedVersion { .. } => {
            (Verdict::Refused, Some(ResponseError::UnsupportedVersion))
        }
        _ => (
            Verdict::Retry {
                refresh: true,
                unclear: true,
            },
            None,
        ),
    };
    Answer {
        verdict,
        code,
        acked: Acked {
            base_offset: -1,
            append_time: -1,
        },
        message: Some(error.to_string().into()),
        cause: Some(Arc::new(error)),
    }
}
