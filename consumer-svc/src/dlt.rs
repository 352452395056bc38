//! Dead letters for an operator: `consumer-svc dlt list|show|replay`.
//!
//! A letter is a record that some group could not handle, kept as it was on `<topic>-dlt` with the
//! reason in its headers ([`letter`]). A replay sends it to its source; when that is acknowledged, a
//! marker on the dead-letter topic says so, and no second replay is made without `--force`. How that
//! holds when commands die and operators compete: [`replay`].

mod address;
mod claim;
mod letter;
mod list;
mod mailbox;
mod replay;
mod scan;
mod show;
mod text;

use kafka::{Error, ResponseError};
use proto::dead_letter::Place;
use service::config::{Invocation, Mistakes};
use service::kafka_glue::explained;

use crate::config::Config;
use mailbox::Mailbox;

/// What the operator asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Of one dead-letter topic, or of all.
    List {
        topic: Option<String>,
    },
    Show(Place),
    Replay {
        letter: Place,
        force: bool,
    },
    ReplayAll {
        topic: Option<String>,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum DltError {
    #[error("{}", explained(.0))]
    Kafka(#[from] Error),
    #[error(transparent)]
    Config(#[from] kafka::ConfigError),
    #[error("{letter} was not replayed: its claim was not acknowledged: {source}")]
    NotClaimed {
        letter: Place,
        source: Box<kafka::ProduceError>,
    },
    #[error(
        "the replay of {letter} was not acknowledged, and has no marker: {}",
        explained(source)
    )]
    NotReplayed { letter: Place, source: Box<Error> },
    #[error(
        "{replayed_to} does not hold the replay of {letter}, although the broker says so: the letter's \
         claim may be from another cluster; --force replays it without a claim"
    )]
    NotThere { letter: Place, replayed_to: Place },
    #[error(
        "{letter} has been replayed to {replayed_to}, but its marker was not acknowledged: {source}; \
         `dlt replay {letter}` writes the marker without replaying again"
    )]
    NotMarked {
        letter: Place,
        replayed_to: Place,
        source: Box<kafka::ProduceError>,
    },
    #[error("{0} is no dead letter; see dlt list")]
    NoLetter(Place),
    #[error(
        "{letter} does not hold its record's {omitted}, too large for a letter, and the record is no \
         longer at {source_place}: it cannot be replayed"
    )]
    Gone {
        letter: Place,
        omitted: String,
        source_place: Place,
    },
    #[error("{letter} has already been replayed, to {replayed_to}; --force replays it again")]
    AlreadyReplayed { letter: Place, replayed_to: Place },
    #[error("topic {0} does not exist")]
    NoTopic(String),
    #[error("{letter} was not replayed: its source topic {topic} does not exist")]
    NoSource { letter: Place, topic: String },
    #[error("{0} dead letters were not replayed; each is named in the output, with the reason")]
    NotAll(u64),
    #[error("{partition} was not read to its end, offset {end}: nothing came for half a minute")]
    Silent { partition: String, end: i64 },
}

impl DltError {
    /// Whether only this letter is concerned, which the error names, and others may go well. Where Kafka
    /// cannot be reached, is too slow or refuses this client, they would not.
    fn is_of_one_letter(&self) -> bool {
        match self {
            Self::NoSource { .. }
            | Self::Gone { .. }
            | Self::NotThere { .. }
            | Self::NoLetter(_) => true,
            Self::NotClaimed { source, .. } => source.blames_record(),
            Self::NotReplayed { source, .. } => match **source {
                Error::UnknownTopic { .. } | Error::UnknownPartition { .. } => true,
                Error::Response { code, .. } => matches!(
                    code,
                    ResponseError::MessageTooLarge
                        | ResponseError::RecordListTooLarge
                        | ResponseError::InvalidRecord
                        | ResponseError::InvalidTimestamp
                ),
                _ => false,
            },
            _ => false,
        }
    }
}

impl Command {
    /// # Errors
    /// All mistakes of the configuration and of the command's arguments.
    pub fn read(invocation: Invocation) -> Result<(Config, Self), Mistakes> {
        let Invocation {
            command,
            arguments,
            mut values,
            ..
        } = invocation;
        let config = Config::take(&mut values);
        let command = match command {
            Some("dlt list") => Self::List {
                topic: values.find("TOPIC"),
            },
            Some("dlt replay") if values.get("ALL") => {
                if !arguments.is_empty() {
                    values.mistake("dlt replay", "takes either a dead letter or --all");
                }
                if values.get("FORCE") {
                    values.mistake("--force", "is for one dead letter, not for --all");
                }
                Self::ReplayAll {
                    topic: values.find("TOPIC"),
                }
            }
            named => {
                let name = named.unwrap_or("dlt");
                let place = address::address(&arguments).unwrap_or_else(|problem| {
                    values.mistake(name, problem);
                    Place {
                        topic: String::new(),
                        partition: 0,
                        offset: 0,
                    }
                });
                if name == "dlt replay" {
                    if values.find::<String>("TOPIC").is_some() {
                        values.mistake("--topic", "goes with --all");
                    }
                    Self::Replay {
                        letter: place,
                        force: values.get("FORCE"),
                    }
                } else {
                    Self::Show(place)
                }
            }
        };
        values.finish((config, command))
    }
}

/// Does what was asked for, with its answer on standard output.
///
/// # Errors
/// Kafka's, or why it was refused.
pub async fn run(config: &Config, command: Command) -> Result<(), DltError> {
    let mailbox = Mailbox::open(&config.common)?;
    let mut out = std::io::stdout();
    match command {
        Command::List { topic } => list::list(&mailbox, topic.as_deref(), &mut out).await,
        Command::Show(place) => show::show(&mailbox, &place, &mut out).await,
        Command::Replay { letter, force } => replay::one(&mailbox, &letter, force, &mut out).await,
        Command::ReplayAll { topic } => replay::all(&mailbox, topic.as_deref(), &mut out).await,
    }
}
