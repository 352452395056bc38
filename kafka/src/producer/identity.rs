//! The producer id that the cluster gave this producer (KIP-98).

use std::{sync::Arc, time::Duration};

use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, ProducerId as WireId};
use parking_lot::Mutex;

use super::sequence::ProducerId;
use crate::{
    cluster::{Cluster, Purpose},
    error::Error,
};

#[derive(Default)]
pub(super) struct Identity {
    current: Mutex<Option<ProducerId>>,
    /// Held while asking, so that senders share one request.
    asking: tokio::sync::Mutex<()>,
}

impl Identity {
    /// The current id, asked from any broker if there is none. One attempt.
    pub(super) async fn get(&self, cluster: &Arc<Cluster>) -> Result<ProducerId, Error> {
        if let Some(current) = *self.current.lock() {
            return Ok(current);
        }
        let _asking = self.asking.lock().await;
        if let Some(current) = *self.current.lock() {
            return Ok(current);
        }
        let given = new_producer_id(cluster, cluster.config().request_timeout).await?;
        tracing::debug!(
            producer_id = given.id,
            epoch = given.epoch,
            "got a producer id"
        );
        *self.current.lock() = Some(given);
        Ok(given)
    }

    /// Never gives this id again.
    pub(super) fn discard(&self, id: i64) {
        self.current.lock().take_if(|current| current.id == id);
    }
}

/// Another producer id, from any broker. One attempt.
pub(crate) async fn new_producer_id(
    cluster: &Cluster,
    timeout: Duration,
) -> Result<ProducerId, Error> {
    let connection = cluster.any_connection(Purpose::Admin).await?;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        // Without a transactional id the broker ignores it; Java sends the largest as well.
        .with_transaction_timeout_ms(i32::MAX)
        .with_producer_id(WireId(-1))
        .with_producer_epoch(-1);
    let response = connection.call(request, timeout).await?;
    Error::check(ApiKey::InitProducerId, response.error_code, None, || {
        "an idempotent producer".to_owned()
    })?;
    Ok(ProducerId {
        id: *response.producer_id,
        epoch: response.producer_epoch,
    })
}
