use std::io::Write;

use service::config::{Invocation, Mistakes, Secret};
use service::db::{Database, DatabaseKind};

use super::gather::Doctor;
use super::report::Verdict;
use crate::schema::MIGRATIONS;
use crate::{Config, NAME};

/// `producer-svc doctor --user ID`.
#[derive(Debug)]
pub struct Command {
    config: Config,
    user_id: i64,
}

/// Why the command does not end well.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    #[error("{0}")]
    NoCart(String),
    #[error(transparent)]
    Kafka(#[from] kafka::ConfigError),
    #[error(transparent)]
    Database(#[from] sql::Error),
}

impl Command {
    /// # Errors
    /// All mistakes of the configuration, and a user id that is none.
    pub fn read(invocation: Invocation) -> Result<Self, Mistakes> {
        let mut values = invocation.values;
        let config = Config::take(&mut values);
        let user_id = match values.find::<i64>("USER") {
            Some(id) if id > 0 => id,
            _ => {
                values.mistake("--user", "must be a user's id, from 1 on");
                0
            }
        };
        values.finish(Self { config, user_id })
    }

    /// What the service's options are set to.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Prints the report. Changes nothing, and makes no database where there is none.
    ///
    /// # Errors
    /// There is no cart, or it cannot be told.
    pub async fn run(self) -> Result<(), DoctorError> {
        let client = self.config.common.kafka.client(&format!("{NAME}-doctor"))?;
        let mut database = self.config.common.database.clone();
        if database.kind == DatabaseKind::Sqlite && !database.url.expose().contains("mode=") {
            let url = database.url.expose();
            let joint = if url.contains('?') { '&' } else { '?' };
            database.url = Secret::new(format!("{url}{joint}mode=rw"));
        }
        let database = Database::new(&database, &MIGRATIONS)?;
        let report = Doctor::new(&self.config, &client, &database)
            .examine(self.user_id)
            .await;
        database.close().await;
        // A closed pipe (`doctor | head`) is no failure.
        let _ = std::io::stdout().write_all(report.to_string().as_bytes());
        match report.verdict {
            Verdict::There => Ok(()),
            Verdict::Failed | Verdict::Unknown => {
                Err(DoctorError::NoCart(match report.first_failure {
                    Some(stage) => {
                        format!("no cart of user {} was found; {stage} fails", self.user_id)
                    }
                    None => format!("whether user {} has a cart cannot be told", self.user_id),
                }))
            }
        }
    }
}
