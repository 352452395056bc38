//! The stages of a cart's creation in the log, word for word as the system before this one printed
//! them; nothing personal among them.

use std::sync::{Arc, Once};
use std::time::Duration;

use kafka::{ConsumerRecord, ConsumerStatsHandle};
use proto::UserCreated;
use service::CancellationToken;

/// How often to look whether the consumer has joined its group.
const LOOK: Duration = Duration::from_millis(250);

/// Says each stage. Clones are of one consumer.
#[derive(Debug, Clone)]
pub(crate) struct Stages {
    started: Arc<Once>,
}

impl Stages {
    /// Says that the consumer is being started.
    pub(crate) fn start() -> Self {
        tracing::info!("🔌 [CART-SERVICE] Запускаю Kafka consumer...");
        Self {
            started: Arc::new(Once::new()),
        }
    }

    /// Says when the consumer is a member of its group for the first time. Until `stop`.
    pub(crate) async fn join(self, consumer: ConsumerStatsHandle, stop: CancellationToken) {
        let joining = async {
            while consumer.snapshot().generation < 0 {
                tokio::time::sleep(LOOK).await;
            }
            self.started();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = joining => {}
        }
    }

    fn started(&self) {
        self.started
            .call_once(|| tracing::info!("✅ [CART-SERVICE] Kafka consumer запущен"));
    }

    pub(super) fn received(&self, record: &ConsumerRecord) {
        // A first record may come before the next look.
        self.started();
        tracing::info!(
            "📥 [CART-SERVICE] Получено сообщение из Kafka: {{ topic: '{}', partition: {}, \
             offset: '{}' }}",
            record.topic,
            record.partition,
            record.offset
        );
    }

    pub(super) fn creating(&self, created: &UserCreated<'_>) {
        let id = created.user_id;
        let at = created.created_at.as_deref().unwrap_or_default();
        tracing::info!(
            "🔍 [CART-SERVICE] Распарсенный payload: {{ type: 'UserCreated', userId: {id}, \
             createdAt: '{at}' }}"
        );
        tracing::info!("✅ [CART-SERVICE] Обрабатываю событие UserCreated");
        tracing::info!("🛒 [CART-SERVICE] Создаю корзину для userId: {id}");
    }

    pub(super) fn created(&self, cart_id: i64, user_id: i64) {
        tracing::info!(
            "✅ [CART-SERVICE] Корзина создана/получена: {{ id: {cart_id}, userId: {user_id} }}"
        );
    }
}
