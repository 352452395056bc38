//! Log records from Kafka into the database.

use kafka::{ConsumerRecord, Handler, Lane, Outcome};
use proto::dead_letter::is_for_another_group;
use service::db::{Database, GroupWriter, WriteError, storable, storable_key};

use super::record::LogRecord;
use super::store::{LogWrite, StoredLog};

/// Stores each record once; done when its transaction has committed.
pub struct LogHandler {
    /// The group it handles for.
    pub group: String,
    pub writer: GroupWriter<LogWrite>,
    pub database: Database,
}

impl Handler for LogHandler {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        if is_for_another_group(&self.group, |name| record.headers.get(name)) {
            return Outcome::Done;
        }
        let Some(value) = &record.value else {
            return Outcome::Reject("no value".to_owned());
        };
        let log = match LogRecord::decode(value) {
            Ok(log) => log,
            Err(why) => return Outcome::Reject(format!("no log record: {why}")),
        };
        let time = match record.timestamp {
            // It has none.
            ..0 => log.time,
            // A clock that is ahead must not keep a record from its retention.
            placed => log.time.min(placed),
        };
        let stored = StoredLog {
            partition: record.partition,
            offset: record.offset,
            log: LogRecord {
                time,
                service: storable_key(log.service.into()),
                logger: log.logger.map(|text| storable(text.into())),
                message: storable(log.message.into()),
                error: log.error.map(|text| storable(text.into())),
                trace_id: log.trace_id.map(|text| storable(text.into())),
                ..log
            },
        };
        match self.writer.write(stored).await {
            Ok(()) => Outcome::Done,
            Err(WriteError::Refused(error)) => {
                Outcome::Reject(format!("the database refuses the log record: {error}"))
            }
            Err(error) => Outcome::Unavailable(error.to_string()),
        }
    }

    /// Each is a row of its own.
    fn lane(&self, _: &ConsumerRecord) -> Lane {
        Lane::Unordered
    }

    async fn probe(&self) -> bool {
        // It knows first when it is back.
        self.database.ready().await;
        self.database.answers().await
    }
}
