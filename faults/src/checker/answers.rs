//! What intake answers while it cannot take orders.

use super::verdict::Violation;
use crate::history::{Answer, History};

/// Every request is answered within the limit, and a refusal says what to do.
pub(super) fn in_time(history: &History) -> Vec<Violation> {
    let Some(limit) = history.answers_within else {
        return Vec::new();
    };
    let mut violations = Vec::new();
    for request in &history.requests {
        let took = request.answered - request.sent;
        let unanswered = matches!(request.answer, Answer::Silent | Answer::Unreached);
        if unanswered || took > limit.as_millis() as i64 {
            violations.push(Violation::NotAnswered {
                order: request.order.to_string(),
                sent: request.sent,
                took,
            });
        }
        if let Answer::Refused(refusal) = &request.answer
            && (refusal.status != 503
                || refusal.retry_after.is_none()
                || refusal.order.as_ref() != Some(&request.order))
        {
            violations.push(Violation::BadRefusal {
                order: request.order.to_string(),
                refusal: refusal.clone(),
            });
        }
    }
    violations
}
