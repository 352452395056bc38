//! The stages of a cart's creation in the log, word for word as the system before this one printed
//! them; nothing personal among them.

use std::time::Duration;

use kafka::{ConsumerRecord, ConsumerStatsHandle};
use proto::UserCreated;
use service::CancellationToken;

/// How often to look whether the consumer has joined its group.
const LOOK: Duration = Duration::from_millis(250);

/// Says each stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stages;

impl Stages {
    /// Says when the consumer is a member of its group for the first time. Until `stop`.
    pub(crate) async fn start(self, consumer: ConsumerStatsHandle, stop: CancellationToken) {
        tracing::info!("🔌 [CART-SERVICE] Запускаю Kafka consumer...");
        let joining = async {
            while consumer.snapshot().generation < 0 {
                tokio::time::sleep(LOOK).await;
            }
            tracing::info!("✅ [CART-SERVICE] Kafka consumer запущен");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = joining => {}
        }
    }

    pub(super) fn received(self, record: &ConsumerRecord) {
        tracing::info!(
            "📥 [CART-SERVICE] Получено сообщение из Kafka: {{ topic: '{}', partition: {}, \
             offset: '{}' }}",
            record.topic,
            record.partition,
            record.offset
        );
    }

    pub(super) fn creating(self, created: &UserCreated<'_>) {
        let id = created.user_id;
        let at = created.created_at.as_deref().unwrap_or_default();
        tracing::info!(
            "🔍 [CART-SERVICE] Распарсенный payload: {{ type: 'UserCreated', userId: {id}, \
             createdAt: '{at}' }}"
        );
        tracing::info!("✅ [CART-SERVICE] Обрабатываю событие UserCreated");
        tracing::info!("🛒 [CART-SERVICE] Создаю корзину для userId: {id}");
    }

    pub(super) fn created(self, cart_id: i64, user_id: i64) {
        tracing::info!(
            "✅ [CART-SERVICE] Корзина создана/получена: {{ id: {cart_id}, userId: {user_id} }}"
        );
    }
}
