//! The stages of a registration's event in the log, word for word as the system before this one
//! printed them.

use std::time::Duration;

use kafka::{Client, ProduceError};
use proto::UserEvent;
use service::CancellationToken;
use service::outbox::Announce;

/// Longest wait for Kafka's answer, and the pause after one that did not come.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

/// Says each stage of `UserCreated` on its way to Kafka.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stages;

impl Stages {
    /// Says when Kafka answers for the first time, and once if it does not at first. Until `stop`.
    pub(crate) async fn connect(self, client: Client, stop: CancellationToken) {
        tracing::info!("🔌 [USER-SERVICE] Подключаюсь к Kafka...");
        let connecting = async {
            let mut told = false;
            loop {
                let problem = match tokio::time::timeout(PATIENCE, client.ready()).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => error.to_string(),
                    Err(_) => "no answer in time".to_owned(),
                };
                if !told {
                    tracing::error!("❌ [USER-SERVICE] Ошибка подключения к Kafka: {problem}");
                }
                told = true;
                tokio::time::sleep(PAUSE).await;
            }
            tracing::info!("✅ [USER-SERVICE] Успешно подключен к Kafka");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = connecting => {}
        }
    }
}

impl Announce for Stages {
    fn sending(&self, topic: &str, body: &str) {
        let event = shown(body);
        tracing::info!(
            "📤 [USER-SERVICE] Отправляю событие в Kafka: {{ topic: '{topic}', event: {event} }}"
        );
    }

    fn sent(&self, _topic: &str, _body: &str) {
        tracing::info!("✅ [USER-SERVICE] Событие отправлено в Kafka");
    }

    fn failed(&self, error: &ProduceError) {
        tracing::error!("❌ [USER-SERVICE] Ошибка отправки в Kafka: {error}");
    }
}

/// The event without the e-mail, as Node's console prints an object.
fn shown(body: &str) -> String {
    match UserEvent::decode(body.as_bytes(), None) {
        Ok(UserEvent::Created(created)) => {
            let at = created.created_at.unwrap_or_default();
            let id = created.user_id;
            format!("{{ type: 'UserCreated', userId: {id}, createdAt: '{at}' }}")
        }
        _ => "{}".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_shown_without_the_address() {
        let body = r#"{"type":"UserCreated","userId":1,"email":"a@b.c","createdAt":"2026-01-02T03:04:05.678Z"}"#;
        assert_eq!(
            shown(body),
            "{ type: 'UserCreated', userId: 1, createdAt: '2026-01-02T03:04:05.678Z' }"
        );
    }
}
