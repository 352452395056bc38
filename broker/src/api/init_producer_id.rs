//! InitProducerId: an identity for an idempotent producer.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use kafka_protocol::protocol::VersionRange;

use super::{Api, Call, NO_TRANSACTIONS, Reply, versions};
use crate::faults::Subject;

impl Api for InitProducerIdRequest {
    const SERVED: VersionRange = versions(0, 5);

    fn subjects(&self, _: &mut dyn FnMut(Subject<'_>)) {}

    async fn handle(self, call: &Call) -> Reply<InitProducerIdResponse> {
        let given = match call.refusal_of_all() {
            Some(error) => Err(error),
            None if self.transactional_id.is_some() => {
                // The answer has no place for words.
                tracing::warn!(
                    client = %call.client_id,
                    "a producer with a transactional id was refused: this broker has no transactions"
                );
                Err(NO_TRANSACTIONS)
            }
            // Without transactions a producer that asks to bump its epoch gets a new id as well,
            // as Kafka does it.
            None => call.state.topics.next_producer_id().map_err(|error| {
                tracing::error!(%error, "cannot store producer ids");
                ResponseError::KafkaStorageError
            }),
        };
        let given = match call.disguise_of_all() {
            Some(error) => Err(error),
            None => given,
        };
        let response = InitProducerIdResponse::default();
        Reply::Answer(match given {
            Ok(id) => response.with_producer_id(id.into()).with_producer_epoch(0),
            Err(error) => response
                .with_error_code(error.code())
                .with_producer_id((-1).into())
                .with_producer_epoch(-1),
        })
    }
}
