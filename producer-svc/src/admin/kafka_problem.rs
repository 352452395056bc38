use std::time::Duration;

use kafka::Error;
use service::http::{Problem, StatusCode};
use service::kafka_glue::explained;

/// What an operator is told when Kafka did not do what was asked: 404 for what does not exist, else
/// 503 with the reason, which names what to look at.
pub(crate) fn kafka_problem(error: &Error) -> Problem {
    match error {
        Error::UnknownTopic { .. } | Error::UnknownPartition { .. } => {
            Problem::new(StatusCode::NOT_FOUND, error.to_string())
        }
        _ => {
            let detail = format!("Kafka did not answer: {}", explained(error));
            Problem::unavailable(detail, Duration::from_secs(2))
        }
    }
}
