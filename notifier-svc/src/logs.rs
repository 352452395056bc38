//! Log records of every service, collected from `LOG_TOPIC` into the database.
//!
//! `record` reads one, `handler` takes it out of Kafka, `store` keeps and lists them, `routes` is
//! `GET /api/logs`.

mod handler;
mod record;
mod routes;
mod store;

pub use handler::LogHandler;
pub use record::{Level, LogRecord};
pub use routes::LogRoutes;
pub use store::{
    Cursor, GRAVE_LOGS, LOGS, LogFilter, LogWrite, RETENTION, STORED_POSTGRES, STORED_SQLITE,
    StoredLog, list,
};
