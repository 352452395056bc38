use kafka::{Headers, ProducerId};
use proto::Rfc3339;
use proto::dead_letter::{Place, REPLAY_OF, TIME};

use crate::letter::OwnedHeaders;

/// On a claim: the producer id under which the letter is replayed.
const PRODUCER: &str = "dlt-replay-producer";
/// On a claim: the partition of the source topic that it is replayed to, in decimal.
const PARTITION: &str = "dlt-replay-partition";
/// On a claim: where that partition ended before the claim was written, in decimal.
const FROM: &str = "dlt-replay-from";

/// Says under which producer id and to which partition a letter is replayed, whoever does it. It lies
/// behind the letter in its partition; of several, the first one counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub replay_of: Place,
    pub producer: ProducerId,
    pub partition: i32,
    /// The replay lies there or behind, if it has been sent: nobody sends before there is a claim. Claims of
    /// earlier versions do not say.
    pub from: Option<i64>,
}

impl Claim {
    /// None if these are no claim's.
    pub fn read(headers: &Headers) -> Option<Self> {
        Some(Self {
            replay_of: headers.get_str(REPLAY_OF).and_then(Place::parse)?,
            producer: headers.get_str(PRODUCER).and_then(ProducerId::parse)?,
            partition: headers.get_str(PARTITION)?.parse().ok()?,
            from: headers.get_str(FROM).and_then(|from| from.parse().ok()),
        })
    }

    pub fn headers(&self) -> OwnedHeaders {
        let from = self.from.map(|from| (FROM, from.to_string()));
        [
            (REPLAY_OF, self.replay_of.to_string()),
            (PRODUCER, self.producer.to_string()),
            (PARTITION, self.partition.to_string()),
            (TIME, Rfc3339::now().to_string()),
        ]
        .into_iter()
        .chain(from)
        .map(|(name, value)| (name.as_bytes().to_vec(), Some(value.into_bytes())))
        .collect()
    }
}
