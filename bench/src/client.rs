//! The client alone: what a record costs through it, beside bare rskafka.
//!
//! `bin/client.rs` runs each [`Case`] in a process of its own, so that one case's memory and
//! threads are not another's; [`run`] is that process.

mod consume;
mod load;
mod produce;

use std::fmt;
use std::str::FromStr;

pub use load::{Load, TlsListener, connect, create_topic, delete_topic};

use crate::measure::Cost;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Something that handles every record of the load once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// rskafka's `PartitionClient::produce` of ready batches, one in flight a partition, no keyed
    /// partitioning: the bare cost of the wire.
    RskafkaProduce,
    RskafkaProduceHeaders,
    /// The same with batches as small as those that form under [`Case::Send`].
    RskafkaSmallBatches,
    /// Our `Producer::enqueue`, one record at a time from one loop, every delivery awaited.
    Enqueue,
    EnqueueHeaders,
    /// Our `Producer::send`, one record at a time in each of many tasks, as request handlers do.
    Send,
    SendHeaders,
    /// rskafka's `fetch_records` in a loop for each partition; nothing committed.
    RskafkaFetch,
    RskafkaFetchHeaders,
    /// Our consumer in a group: handler, key lanes, manual commits.
    Group,
    GroupHeaders,
}

/// What a case does with its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Produce,
    Consume,
}

impl Case {
    pub const ALL: [Case; 11] = [
        Case::RskafkaProduce,
        Case::Enqueue,
        Case::RskafkaSmallBatches,
        Case::Send,
        Case::RskafkaProduceHeaders,
        Case::EnqueueHeaders,
        Case::SendHeaders,
        Case::RskafkaFetch,
        Case::Group,
        Case::RskafkaFetchHeaders,
        Case::GroupHeaders,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Case::RskafkaProduce => "rskafka-produce",
            Case::RskafkaProduceHeaders => "rskafka-produce-headers",
            Case::RskafkaSmallBatches => "rskafka-small-batches",
            Case::Enqueue => "enqueue",
            Case::EnqueueHeaders => "enqueue-headers",
            Case::Send => "send",
            Case::SendHeaders => "send-headers",
            Case::RskafkaFetch => "rskafka-fetch",
            Case::RskafkaFetchHeaders => "rskafka-fetch-headers",
            Case::Group => "group",
            Case::GroupHeaders => "group-headers",
        }
    }

    pub fn kind(self) -> Kind {
        match self {
            Case::RskafkaFetch | Case::RskafkaFetchHeaders | Case::Group | Case::GroupHeaders => {
                Kind::Consume
            }
            _ => Kind::Produce,
        }
    }

    /// Whether its records carry the seven headers that the shop's events have.
    pub fn headers(self) -> bool {
        matches!(
            self,
            Case::RskafkaProduceHeaders
                | Case::EnqueueHeaders
                | Case::SendHeaders
                | Case::RskafkaFetchHeaders
                | Case::GroupHeaders
        )
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Case::ALL
            .into_iter()
            .find(|case| case.name() == name)
            .ok_or_else(|| {
                let names: Vec<&str> = Case::ALL.iter().map(|case| case.name()).collect();
                format!("no case is called '{name}'; there are {}", names.join(", "))
            })
    }
}

/// What one run of a case gave, as its process hands it to the one that compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    pub records: u64,
    pub cpu_ns: u64,
    pub wall_ns: u64,
    pub peak_memory: u64,
}

impl Figures {
    fn new(records: u64, cost: Cost) -> Self {
        let nanos =
            |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self {
            records,
            cpu_ns: nanos(cost.cpu),
            wall_ns: nanos(cost.wall),
            peak_memory: cost.peak_memory,
        }
    }

    pub fn cpu_us_a_record(&self) -> f64 {
        self.cpu_ns as f64 / 1e3 / self.records as f64
    }

    pub fn records_a_second(&self) -> f64 {
        self.records as f64 / (self.wall_ns as f64 / 1e9)
    }

    pub fn peak_mb(&self) -> f64 {
        self.peak_memory as f64 / 1e6
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "figures {} {} {} {}",
            self.records, self.cpu_ns, self.wall_ns, self.peak_memory
        )
    }
}

impl FromStr for Figures {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let numbers: Option<Vec<u64>> = line
            .strip_prefix("figures ")
            .map(|rest| rest.split(' ').filter_map(|n| n.parse().ok()).collect());
        match numbers.as_deref() {
            Some(&[records, cpu_ns, wall_ns, peak_memory]) => Ok(Self {
                records,
                cpu_ns,
                wall_ns,
                peak_memory,
            }),
            _ => Err(format!("not a line of figures: '{line}'")),
        }
    }
}

/// Runs a case in this process. A producing case needs an empty `topic`, a consuming one a full one.
///
/// # Errors
/// When the broker cannot be reached or any record is refused: a case with a hole has no figures.
pub async fn run(
    case: Case,
    bootstrap: &str,
    topic: &str,
    load: &Load,
) -> Result<Figures, Failure> {
    let cost = match case {
        Case::RskafkaProduce | Case::RskafkaProduceHeaders => {
            produce::rskafka(bootstrap, topic, load, produce::BATCH).await?
        }
        Case::RskafkaSmallBatches => {
            produce::rskafka(bootstrap, topic, load, produce::SMALL_BATCH).await?
        }
        Case::Enqueue | Case::EnqueueHeaders => produce::enqueue(bootstrap, topic, load).await?,
        Case::Send | Case::SendHeaders => produce::send(bootstrap, topic, load).await?,
        Case::RskafkaFetch | Case::RskafkaFetchHeaders => {
            consume::rskafka(bootstrap, topic, load).await?
        }
        Case::Group | Case::GroupHeaders => consume::group(bootstrap, topic, load).await?,
    };
    Ok(Figures::new(load.records, cost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        for case in Case::ALL {
            assert_eq!(case.name().parse(), Ok(case));
        }
        assert!("nothing".parse::<Case>().is_err());
    }

    #[test]
    fn figures_survive_the_way_between_processes() {
        let figures = Figures {
            records: 4,
            cpu_ns: 8_000,
            wall_ns: 2_000_000_000,
            peak_memory: 3_000_000,
        };
        assert_eq!(figures.to_string().parse(), Ok(figures));
        assert!("figures 1 2 3".parse::<Figures>().is_err());
        assert_eq!(
            (
                figures.cpu_us_a_record(),
                figures.records_a_second(),
                figures.peak_mb()
            ),
            (2.0, 2.0, 3.0)
        );
    }
}
