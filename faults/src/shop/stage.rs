//! The Kafka that a shop runs on.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use testkit::Kafka;
use testkit::apache::{ApacheKafka, free_address};

use crate::process::Process;

/// Names Apache Kafka to run on instead of the embedded broker.
const BOOTSTRAP_VARIABLE: &str = "TEST_KAFKA_BOOTSTRAP_SERVERS";

/// Where a shop's records go.
pub enum Stage {
    /// The Apache Kafka that the environment names, which others use too.
    Shared(String),
    /// The embedded broker as a process.
    Embedded(EmbeddedStage),
    /// The embedded broker in this process, which misbehaves when it is told to.
    InProcess(Box<Kafka>),
    /// Apache Kafka of the run's own.
    Apache(ApacheStage),
}

/// The embedded broker as a process of its own.
pub struct EmbeddedStage {
    process: Process,
    address: SocketAddr,
    /// What clients are told instead of the address.
    advertised: Option<SocketAddr>,
    _folder: TempDir,
}

/// Nodes of Apache Kafka of the run's own.
pub struct ApacheStage {
    pub kafka: ApacheKafka,
    advertised: Option<SocketAddr>,
    nodes: usize,
}

impl Stage {
    /// What services are run on whose Kafka nothing happens to: the one that the environment
    /// names, otherwise the embedded broker.
    ///
    /// # Panics
    /// When the broker does not start.
    pub async fn any() -> Self {
        match std::env::var(BOOTSTRAP_VARIABLE) {
            Ok(bootstrap) if !bootstrap.is_empty() => Self::Shared(bootstrap),
            _ => Self::embedded(None).await,
        }
    }

    /// A Kafka of the run's own, for faults made to it: Apache Kafka when the environment names
    /// one to test on, otherwise the embedded broker. Clients are told `advertised`, the address
    /// of a proxy.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn own(advertised: Option<SocketAddr>) -> Self {
        match std::env::var(BOOTSTRAP_VARIABLE) {
            Ok(bootstrap) if !bootstrap.is_empty() => {
                let mut builder = ApacheKafka::builder();
                if let Some(address) = advertised {
                    builder = builder.advertised(address);
                }
                Self::Apache(ApacheStage {
                    kafka: builder.start().await,
                    advertised,
                    nodes: 1,
                })
            }
            _ => Self::embedded(advertised).await,
        }
    }

    /// Three nodes of Apache Kafka with three replicas of everything, two of which have to be in
    /// sync.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn cluster() -> Self {
        let builder = ApacheKafka::builder()
            .nodes(3)
            .setting("min.insync.replicas", "2")
            // Leaderships go back to a node soon after it is back, not after minutes.
            .setting("leader.imbalance.check.interval.seconds", "1")
            .setting("leader.imbalance.per.broker.percentage", "0");
        Self::Apache(ApacheStage {
            kafka: builder.start().await,
            advertised: None,
            nodes: 3,
        })
    }

    /// A node that was started with settings of its own.
    pub fn of(kafka: ApacheKafka) -> Self {
        Self::Apache(ApacheStage {
            kafka,
            advertised: None,
            nodes: 1,
        })
    }

    /// The embedded broker in this process, whatever the environment says.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn in_process() -> Self {
        Self::InProcess(Box::new(Kafka::own_broker().await))
    }

    async fn embedded(advertised: Option<SocketAddr>) -> Self {
        let folder = TempDir::with_prefix("broker-").expect("a folder for a broker");
        let address = free_address();
        let mut process = embedded_broker(folder.path(), address, advertised);
        process.address().await;
        Self::Embedded(EmbeddedStage {
            process,
            address,
            advertised,
            _folder: folder,
        })
    }

    /// What services are told.
    pub fn bootstrap(&self) -> String {
        let advertised = match self {
            Self::Shared(_) | Self::InProcess(_) => None,
            Self::Embedded(stage) => stage.advertised,
            Self::Apache(stage) => stage.advertised,
        };
        advertised.map_or_else(|| self.inner_bootstrap(), |address| address.to_string())
    }

    /// Where Kafka listens itself, behind a proxy. Of a single Apache Kafka a listener that tells
    /// no client about the proxy; the embedded broker tells everybody.
    pub fn inner_bootstrap(&self) -> String {
        match self {
            Self::Shared(bootstrap) => bootstrap.clone(),
            Self::Embedded(stage) => stage.address.to_string(),
            Self::InProcess(kafka) => kafka.bootstrap().to_owned(),
            Self::Apache(stage) if stage.advertised.is_some() => {
                stage.kafka.bootstrap_of("INTERNAL")
            }
            Self::Apache(stage) => stage.kafka.bootstrap(),
        }
    }

    /// Where a proxy leads to.
    ///
    /// # Panics
    /// On a Kafka that knows of no proxy.
    pub fn behind_proxy(&self) -> SocketAddr {
        match self {
            Self::Embedded(stage) => stage.address,
            Self::Apache(stage) => stage.kafka.address(1),
            Self::Shared(_) | Self::InProcess(_) => panic!("no proxy is told of: use Stage::own"),
        }
    }

    /// The broker in this process.
    ///
    /// # Panics
    /// On any other.
    pub fn broker(&mut self) -> &mut Kafka {
        match self {
            Self::InProcess(kafka) => kafka,
            _ => panic!("the broker is another process: use Stage::in_process"),
        }
    }

    /// Nodes of Apache Kafka.
    ///
    /// # Panics
    /// On any other.
    pub fn nodes(&mut self) -> &mut ApacheKafka {
        match self {
            Self::Apache(stage) => &mut stage.kafka,
            _ => panic!("no Apache Kafka of the run's own: use Stage::cluster"),
        }
    }

    /// A session of a group as short as the broker allows: an instance that was killed is soon
    /// replaced.
    pub fn session(&self) -> Duration {
        match self {
            // Kafka's default of `group.min.session.timeout.ms`.
            Self::Shared(_) => Duration::from_secs(6),
            _ => Duration::from_secs(2),
        }
    }

    /// What every service is told of it.
    pub fn flags(&self) -> Vec<(String, String)> {
        let session = format!("{}s", self.session().as_secs());
        [
            ("kafka-bootstrap-servers", self.bootstrap()),
            ("kafka-session-timeout", session),
            (
                "kafka-topic-replication-factor",
                self.replicas().to_string(),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// Replicas of a topic.
    pub fn replicas(&self) -> usize {
        match self {
            Self::Apache(stage) => stage.nodes,
            _ => 1,
        }
    }

    /// Ends the (first) broker with SIGKILL, or as that would.
    ///
    /// # Panics
    /// On a Kafka that is shared.
    pub async fn kill(&mut self) {
        match self {
            Self::Shared(_) => panic!("a shared Kafka is not to be killed: use Stage::own"),
            Self::Embedded(stage) => stage.process.kill(),
            Self::InProcess(kafka) => kafka.kill_broker().await,
            Self::Apache(stage) => stage.kafka.kill(1),
        }
    }

    /// Starts the (first) broker again, on its data.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self) {
        match self {
            Self::Shared(_) => panic!("only what was killed is restarted"),
            Self::Embedded(stage) => {
                stage.process.start_again();
                stage.process.address().await;
            }
            Self::InProcess(kafka) => kafka.start_broker().await,
            Self::Apache(stage) => stage.kafka.restart(1).await,
        }
    }
}

fn embedded_broker(folder: &Path, address: SocketAddr, advertised: Option<SocketAddr>) -> Process {
    let mut arguments = vec![
        format!("--listen={address}"),
        "--data-dir=data".to_owned(),
        "--min-session-timeout-ms=1000".to_owned(),
    ];
    arguments.extend(advertised.map(|address| format!("--advertised={address}")));
    Process::start("broker", "broker", folder, &arguments)
}
