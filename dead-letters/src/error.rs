use kafka::{Error, ResponseError};
use proto::dead_letter::Place;
use service::kafka_glue::{ScanError, explained};

/// Why a letter was not read or not replayed. What to do is said in terms of the command line.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
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
         claim may be from another cluster; --force replays it under a claim of its own"
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
    #[error(
        "{letter} says that {source_place} to offset {last} was passed over, since nobody could read it: there is \
         no record to replay"
    )]
    PassedOver {
        letter: Place,
        source_place: Place,
        last: i64,
    },
    #[error(transparent)]
    Skip(#[from] kafka::SkipError),
    #[error(
        "no group's commit stands at offsets {first} to {last} of {topic} partition {partition}: name the one that \
         is held with --group"
    )]
    NobodyHeld {
        topic: String,
        partition: i32,
        first: i64,
        last: i64,
    },
    #[error("topic {0} does not exist")]
    NoTopic(String),
    #[error("{letter} was not replayed: its source topic {topic} does not exist")]
    NoSource { letter: Place, topic: String },
    #[error("{0} dead letters were not replayed; each is named in the output, with the reason")]
    NotAll(u64),
    #[error(transparent)]
    Scan(#[from] ScanError),
}

impl DeadLetterError {
    /// Whether only this letter is concerned, which the error names, and others may go well. Where Kafka
    /// cannot be reached, is too slow or refuses this client, they would not.
    pub fn is_of_one_letter(&self) -> bool {
        match self {
            Self::NoSource { .. }
            | Self::Gone { .. }
            | Self::NotThere { .. }
            | Self::PassedOver { .. }
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
