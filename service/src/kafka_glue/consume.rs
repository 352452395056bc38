use std::future::Future;

use kafka::{Consumer, ConsumerError, Handler, Report};
use tokio_util::sync::CancellationToken;

/// Why a consumer did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    #[error(transparent)]
    Failed(#[from] ConsumerError),
    /// Records were in the handler's hands longer than the shutdown could wait.
    #[error("work was cut off: {0}; all of it is delivered again")]
    CutOff(Report),
}

/// Runs `consumer` until `shutdown`, and then for as long as it drains. What it left that is
/// delivered again by its nature (waiting for a retry; without a commit or with a dead letter that
/// Kafka did not acknowledge) is a warning.
///
/// # Errors
/// The consumer's own, or that handlers were not waited for any longer.
pub async fn consume<H: Handler>(
    consumer: Consumer<H>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ConsumeError> {
    judge(consumer.run(shutdown).await?)
}

/// The same, but the group is joined only once `ready` resolves; at a shutdown before that it never
/// is.
///
/// # Errors
/// As [`consume`].
pub async fn consume_after<H: Handler>(
    ready: impl Future<Output = ()>,
    consumer: Consumer<H>,
    stop: &CancellationToken,
) -> Result<(), ConsumeError> {
    tokio::select! {
        () = ready => consume(consumer, stop.cancelled()).await,
        () = stop.cancelled() => Ok(()),
    }
}

fn judge(report: Report) -> Result<(), ConsumeError> {
    if !report.abandoned.is_empty() {
        return Err(ConsumeError::CutOff(report));
    }
    if !report.is_clean() {
        tracing::warn!("a consumer ended with something left, which is delivered again: {report}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kafka::{InFlightRecord, TopicPartition};

    use super::*;

    #[test]
    fn only_work_that_was_cut_off_is_no_good_end() {
        let partition = TopicPartition::new("orders", 2);
        assert!(judge(Report::default()).is_ok());
        let left = Report {
            given_up: 3,
            uncommitted: vec![partition.clone()],
            ..Report::default()
        };
        assert!(judge(left).is_ok());
        let cut_off = Report {
            abandoned: vec![InFlightRecord {
                partition,
                offset: 17,
                age: Duration::from_secs(7),
            }],
            ..Report::default()
        };
        let error = judge(cut_off).unwrap_err().to_string();
        assert!(error.contains("orders-2 offset 17"), "{error}");
    }
}
