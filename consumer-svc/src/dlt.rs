//! Dead letters for an operator: `consumer-svc dlt list|show|replay|skip`, the command line before the
//! crate [`dead_letters`], where letters and replays are explained.

mod address;
mod list;
mod replay;
mod show;
mod skip;
mod text;

use dead_letters::{DeadLetterError, Mailbox, Skip};
use proto::dead_letter::Place;
use service::config::{Common, Invocation, Mistakes};

use crate::config::Config;

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
    Skip(Skip),
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
            Some("dlt skip") => Self::Skip(skip::read(&arguments, &mut values)),
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
pub async fn run(config: &Config, command: Command) -> Result<(), DeadLetterError> {
    let mailbox = open(&config.common)?;
    let mut out = std::io::stdout();
    match command {
        Command::List { topic } => list::list(&mailbox, topic.as_deref(), &mut out).await,
        Command::Show(place) => show::show(&mailbox, &place, &mut out).await,
        Command::Replay { letter, force } => replay::one(&mailbox, &letter, force, &mut out).await,
        Command::Skip(wanted) => skip::skip(&mailbox, &wanted, &mut out).await,
        Command::ReplayAll { topic } => replay::all(&mailbox, topic.as_deref(), &mut out).await,
    }
}

/// Every step is bounded by `REQUEST_TIMEOUT`.
fn open(common: &Common) -> Result<Mailbox, DeadLetterError> {
    let client = common.kafka.client(crate::NAME)?;
    let timeout = common.http.request_timeout;
    Ok(Mailbox::new(client, &common.kafka, timeout)?)
}
