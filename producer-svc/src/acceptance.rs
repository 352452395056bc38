//! What taking an order and taking a book event have in common: a receipt only after the broker's
//! acknowledgement, and else a refusal that can be tried again.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use kafka::ProduceError;
use parking_lot::Mutex;
use service::health::{Health, HealthPart};
use service::http::{Problem, Response, StatusCode};
use service::kafka_glue::is_oversized;
use service::metrics::{Counter, Metrics};

/// How long a client should wait before it sends again what was not taken.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Between two log lines about one topic that does not take what clients send.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// What clients send to one topic: how it fares, and what they are told where it is not taken.
pub(crate) struct Acceptance {
    /// What it is: order, event.
    what: &'static str,
    topic: String,
    /// Degraded while the topic refuses what it is sent, be Kafka there or not.
    health: HealthPart,
    /// Spares a look at the health with each record that is taken.
    is_refused: AtomicBool,
    log: Mutex<Log>,
}

/// Which failures of many alike get a log line.
#[derive(Default)]
pub(crate) struct Log {
    last: Option<Instant>,
    /// Failures since, that got no line.
    unsaid: u64,
}

impl Log {
    /// Whether a failure gets a line now, and how many got none before it.
    pub(crate) fn line(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now - last < LOG_INTERVAL) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Acceptance {
    pub(crate) fn new(what: &'static str, topic: &str, health: &Health) -> Self {
        let health = health.optional(&format!("intake of {topic}"));
        health.up();
        Self {
            what,
            topic: topic.to_owned(),
            health,
            is_refused: AtomicBool::new(false),
            log: Mutex::default(),
        }
    }

    /// One was taken.
    pub(crate) fn accepted(&self) {
        if self.is_refused.load(Relaxed) && self.is_refused.swap(false, Relaxed) && self.health.up()
        {
            tracing::info!("{} takes {}s again", self.topic, self.what);
        }
    }

    /// What a client is told whose order or event is not known to be in the log; its id, with which it
    /// is the same one when it is sent again, is the document's `member`.
    pub(crate) fn not_accepted(&self, error: &ProduceError, member: &str, id: &str) -> Problem {
        let what = self.what;
        let problem = if is_oversized(error) {
            tracing::debug!("{what} not accepted: {error}");
            let detail = format!("the {what} is larger than Kafka takes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        } else {
            self.warn(error);
            if is_refusal(error) {
                self.health.down(error.to_string());
                self.is_refused.store(true, Relaxed);
            }
            Problem::unavailable(reason(error, what), RETRY_AFTER)
        };
        problem.with(member, id)
    }

    fn warn(&self, error: &ProduceError) {
        let what = self.what;
        match self.log.lock().line(Instant::now()) {
            None => {}
            Some(0) => tracing::warn!("{what} not accepted: {error}"),
            Some(unsaid) => {
                tracing::warn!("{what} not accepted, nor were {unsaid} before it: {error}");
            }
        }
    }
}

/// Whether it is the topic, its settings or the rights of this service that stand in the way: sending the
/// same again does not help before somebody has put that right.
fn is_refusal(error: &ProduceError) -> bool {
    matches!(
        error,
        ProduceError::Rejected { .. }
            | ProduceError::TooLargeForTopic { .. }
            | ProduceError::RecordTooLarge { .. }
            | ProduceError::NoProducerId { .. }
    )
}

/// Why it was not taken, without the addresses of brokers, which are nobody else's affair.
fn reason(error: &ProduceError, what: &str) -> String {
    match error {
        ProduceError::BufferFull { .. } => {
            format!("too many {what}s wait for Kafka; send the {what} again with the same id")
        }
        ProduceError::Closed { .. } | ProduceError::CloseTimeout { .. } => format!(
            "this instance is shutting down; send the {what} to another one, with the same id"
        ),
        ProduceError::Timeout { cause, .. } => {
            let answer = cause.as_ref().filter(|cause| cause.code().is_some());
            let answer = answer.map_or(String::new(), |cause| {
                format!(" (the last answer: {cause})")
            });
            format!(
                "Kafka did not confirm the {what} in time{answer}; send it again with the same id"
            )
        }
        ProduceError::NoProducerId { cause, .. } => {
            let answer = cause
                .code()
                .map_or(String::new(), |_| format!(" (the answer: {cause})"));
            format!(
                "Kafka gives this service no producer id{answer}; send the {what} again with the same id when that \
                 is put right"
            )
        }
        ProduceError::PartitionGone { topic, .. } => format!(
            "{topic} was created again with fewer partitions while the {what} was on its way; send it again with \
             the same id"
        ),
        error => format!(
            "Kafka does not take the {what}: {error}; send it again with the same id when that is put \
             right"
        ),
    }
}

/// Counts what became of requests, by `outcome`, without a lookup a request.
#[derive(Clone, Debug)]
pub(crate) struct Outcomes {
    accepted: Counter,
    /// The client's doing: unreadable, wrong, too large, too slow.
    refused: Counter,
    /// Kafka away, too slow, or the send buffer full.
    unavailable: Counter,
}

impl Outcomes {
    /// Registers `<name>_total{outcome}`.
    pub(crate) fn new(metrics: &Metrics, name: &str, help: &str) -> Self {
        let values = ["accepted", "refused", "unavailable"];
        let [accepted, refused, unavailable] = metrics.counters(name, help, "outcome", values);
        Self {
            accepted,
            refused,
            unavailable,
        }
    }

    pub(crate) fn count(&self, result: &Result<Response, Problem>) {
        match result {
            Ok(_) => &self.accepted,
            Err(problem) if problem.status().is_server_error() => &self.unavailable,
            Err(_) => &self.refused,
        }
        .inc();
    }
}

#[cfg(test)]
mod tests {
    use kafka::ResponseError;

    use super::*;

    #[test]
    fn a_lasting_failure_has_a_line_now_and_then() {
        let mut log = Log::default();
        let begin = Instant::now();
        assert_eq!(log.line(begin), Some(0));
        assert_eq!(log.line(begin + LOG_INTERVAL / 2), None);
        assert_eq!(log.line(begin + LOG_INTERVAL / 2), None);
        assert_eq!(log.line(begin + LOG_INTERVAL), Some(2));
        assert_eq!(log.line(begin + LOG_INTERVAL * 2), Some(0));
    }

    #[test]
    fn a_refusal_is_told_with_its_reason_and_degrades_until_the_next_is_taken() {
        let health = Health::new();
        let acceptance = Acceptance::new("order", "order_topic", &health);
        let error = ProduceError::Rejected {
            topic: "order_topic".into(),
            partition: 1,
            code: ResponseError::InvalidTimestamp,
            message: None,
            may_be_written: false,
        };
        let problem = acceptance.not_accepted(&error, "orderId", "7");
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        let degraded = &health.report().degraded[0];
        assert_eq!(degraded.name, "intake of order_topic");
        for text in [&degraded.problem, &format!("{problem:?}")] {
            assert!(text.contains("order_topic-1"), "{text}");
            assert!(text.contains("INVALID_TIMESTAMP"), "{text}");
            assert!(text.contains("message.timestamp.after.max.ms"), "{text}");
        }
        acceptance.accepted();
        assert!(health.report().degraded.is_empty());
    }

    #[test]
    fn clients_are_told_no_address_of_a_broker() {
        let cause = kafka::Error::Unreachable {
            bootstrap: "kafka.internal:9092".into(),
            last: kafka::Error::UnknownNode { node: 1 }.into(),
        };
        let cause = std::sync::Arc::new(cause);
        let errors = [
            ProduceError::NoProducerId {
                topic: "t".into(),
                cause: cause.clone(),
            },
            ProduceError::Timeout {
                topic: "t".into(),
                partition: None,
                elapsed: Duration::from_secs(5),
                may_be_written: false,
                cause: Some(cause),
            },
            ProduceError::PartitionGone {
                topic: "t".into(),
                partition: 2,
                count: 1,
            },
        ];
        for error in errors {
            let reason = reason(&error, "order");
            assert!(!reason.contains("internal"), "{reason}");
            assert_eq!(reason.matches("send").count(), 1, "{reason}");
        }
    }

    #[test]
    fn an_ordinary_order_is_not_too_large_whatever_the_topic_takes() {
        let acceptance = Acceptance::new("order", "t", &Health::new());
        let too_large = |size| ProduceError::TooLargeForTopic {
            topic: "t".into(),
            partition: 0,
            size,
        };
        let status = |size| {
            acceptance
                .not_accepted(&too_large(size), "orderId", "7")
                .status()
        };
        assert_eq!(status(300), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(50_000), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
