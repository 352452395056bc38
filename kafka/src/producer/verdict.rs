//! What the answer to a batch means, by Kafka's table of errors (`Errors.java`) and the rules of the
//! Java client's `Sender` and `TransactionManager`.

use crate::error::ResponseError;

/// What to do with a batch that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in the log.
    Written,
    /// The same batch again, under the same sequence.
    Retry {
        /// The leader may have moved.
        refresh: bool,
        /// It may be in the log already, or still get there. The broker will know by its sequence.
        unclear: bool,
    },
    /// It is not in the log and its sequence does not fit what the broker remembers: the same batch
    /// again, under the next epoch. Java bumps the epoch likewise (`requestIdempotentEpochBumpForPartition`).
    NextEpoch,
    /// The broker refuses this producer id: again under a new one, unless an earlier attempt may have
    /// been written.
    NewProducerId,
    /// Too large for the topic: in smaller parts, if it has several records.
    TooLarge,
    /// Refused for good. It is not in the log.
    Refused,
    /// Failed for good, but possibly written.
    Unclear,
}

pub(super) fn judge(code: Option<ResponseError>) -> Verdict {
    use ResponseError as E;
    let Some(code) = code else {
        return Verdict::Written;
    };
    match code {
        // The broker has seen this sequence: an earlier attempt was written.
        E::DuplicateSequenceNumber => Verdict::Written,
        // With one batch in flight a partition, the broker still remembers the batch before: a gap means
        // that it lost acknowledged records, or forgot the producer; this batch is not among them.
        E::OutOfOrderSequenceNumber | E::UnknownProducerId => Verdict::NextEpoch,
        E::InvalidProducerEpoch | E::ProducerFenced | E::InvalidProducerIdMapping => {
            Verdict::NewProducerId
        }
        E::MessageTooLarge | E::RecordListTooLarge => Verdict::TooLarge,
        // Checked before anything is appended.
        E::LeaderNotAvailable
        | E::UnknownTopicOrPartition
        | E::UnknownTopicId
        | E::InconsistentTopicId => Verdict::Retry {
            refresh: true,
            unclear: false,
        },
        E::CorruptMessage | E::NotEnoughReplicas | E::ThrottlingQuotaExceeded => Verdict::Retry {
            refresh: false,
            unclear: false,
        },
        // Also the answer to a batch that waited for its replicas when the leader moved.
        E::NotLeaderOrFollower
        | E::ReplicaNotAvailable
        | E::KafkaStorageError
        | E::FencedLeaderEpoch
        | E::UnknownLeaderEpoch
        | E::ListenerNotFound => Verdict::Retry {
            refresh: true,
            unclear: true,
        },
        E::UnknownServerError => Verdict::Unclear,
        code if code.is_retriable() => Verdict::Retry {
            refresh: false,
            unclear: true,
        },
        _ => Verdict::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_kafkas_table_says() {
        use ResponseError as E;
        let retry = |refresh, unclear| Verdict::Retry { refresh, unclear };
        for (code, verdict) in [
            (None, Verdict::Written),
            (Some(E::DuplicateSequenceNumber), Verdict::Written),
            (Some(E::NotLeaderOrFollower), retry(true, true)),
            (Some(E::UnknownTopicOrPartition), retry(true, false)),
            (Some(E::NotEnoughReplicas), retry(false, false)),
            (Some(E::NotEnoughReplicasAfterAppend), retry(false, true)),
            (Some(E::RequestTimedOut), retry(false, true)),
            (Some(E::CorruptMessage), retry(false, false)),
            (Some(E::ThrottlingQuotaExceeded), retry(false, false)),
            (Some(E::OutOfOrderSequenceNumber), Verdict::NextEpoch),
            (Some(E::UnknownProducerId), Verdict::NextEpoch),
            (Some(E::InvalidProducerEpoch), Verdict::NewProducerId),
            (Some(E::MessageTooLarge), Verdict::TooLarge),
            (Some(E::TopicAuthorizationFailed), Verdict::Refused),
            (Some(E::InvalidRecord), Verdict::Refused),
            (Some(E::InvalidTopicException), Verdict::Refused),
            (Some(E::Unknown(999)), Verdict::Refused),
            (Some(E::UnknownServerError), Verdict::Unclear),
        ] {
            assert_eq!(judge(code), verdict, "{code:?}");
        }
    }
}
