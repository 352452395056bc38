//! Apache Kafka of a test's own, one node or a cluster: for what needs a broker that can be killed
//! or configured, or that does what the embedded one does not (replication, transactions,
//! compaction, TLS).
//!
//! Nodes are started from `TEST_KAFKA_HOME`, a folder with Kafka's jars (`scripts/kafka jars`
//! fetches it), and end with the [`ApacheKafka`] that started them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponsePartition;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::eventually;
use crate::raw::Connection;

/// The folder of Kafka's jars.
const HOME_VARIABLE: &str = "TEST_KAFKA_HOME";

/// How long a node may take to start, or to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// 16 bytes as Kafka's `Uuid` writes them; every cluster here may have the same.
const CLUSTER_ID: &str = "AAECAwQFBgcICQoLDA0ODw";

/// What a cluster is started with.
pub struct ApacheKafkaBuilder {
    nodes: usize,
    settings: Vec<(String, String)>,
    listeners: Vec<(String, String)>,
    advertised: Option<SocketAddr>,
    format_arguments: Vec<String>,
}

/// A running cluster. Dropping it kills its nodes and deletes their data.
pub struct ApacheKafka {
    nodes: Vec<Node>,
    dir: TempDir,
}

struct Node {
    id: usize,
    /// `None` while it is not running.
    process: Option<Child>,
    /// By listener name.
    addresses: Vec<(String, SocketAddr)>,
}

impl ApacheKafka {
    /// One node with the defaults of a test: internal topics with one replica, no delay before a
    /// group's first rebalance, sessions from 1 s.
    ///
    /// # Panics
    /// When `TEST_KAFKA_HOME` is not set, or the node does not start.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    pub fn builder() -> ApacheKafkaBuilder {
        ApacheKafkaBuilder {
            nodes: 1,
            settings: Vec::new(),
            listeners: Vec::new(),
            advertised: None,
            format_arguments: Vec::new(),
        }
    }

    /// The plain listeners of all nodes, comma-separated.
    pub fn bootstrap(&self) -> String {
        self.bootstrap_of("PLAINTEXT")
    }

    /// A named listener of all nodes, comma-separated.
    ///
    /// # Panics
    /// When there is no such listener.
    pub fn bootstrap_of(&self, listener: &str) -> String {
        let addresses: Vec<_> = self
            .nodes
            .iter()
            .map(|node| node.address(listener).to_string())
            .collect();
        addresses.join(",")
    }

    /// The plain listener of a node; nodes are counted from 1, as their ids are.
    pub fn address(&self, id: usize) -> SocketAddr {
        self.nodes[id - 1].address("PLAINTEXT")
    }

    /// The folder of its files, and of what a test puts beside them.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Ends a node with SIGKILL.
    pub fn kill(&mut self, id: usize) {
        if let Some(mut process) = self.nodes[id - 1].process.take() {
            process.kill().expect("a process of ours can be killed");
            process.wait().expect("a killed process ends");
        }
    }

    /// Ends a node with SIGTERM: it hands its leaderships over first.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn stop(&mut self, id: usize) {
        let Some(mut process) = self.nodes[id - 1].process.take() else {
            return;
        };
        signal(&process, Signal::TERM);
        eventually(PATIENCE, || {
            let ended = process.try_wait().expect("its status can be asked for");
            async move { ended }
        })
        .await;
    }

    /// Stops a node's process without ending it (SIGSTOP): its connections stay open and silent.
    pub fn freeze(&self, id: usize) {
        self.signal(id, Signal::STOP);
    }

    /// Wakes a frozen node.
    pub fn thaw(&self, id: usize) {
        self.signal(id, Signal::CONT);
    }

    /// Starts a node again that was killed or stopped, on its data and its ports, and waits until
    /// it serves.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&mut self, id: usize) {
        self.launch(id);
        self.serving(id).await;
    }

    /// Waits until every replica of a topic is in sync and every partition has the leader that its
    /// replicas name first.
    ///
    /// # Panics
    /// When no node runs, or it does not come to that.
    pub async fn until_in_sync(&self, topic: &str) {
        self.until_partitions(topic, |partition| {
            partition.isr_nodes.len() == partition.replica_nodes.len()
                && partition.replica_nodes.first() == Some(&partition.leader_id)
        })
        .await;
    }

    /// Waits until this node alone leads and is in sync, in every partition of a topic.
    ///
    /// # Panics
    /// When no node runs, or it does not come to that.
    pub async fn until_alone(&self, topic: &str, id: usize) {
        self.until_partitions(topic, |partition| {
            let in_sync: Vec<_> = partition.isr_nodes.iter().map(|node| node.0).collect();
            in_sync == [id as i32] && *partition.leader_id == id as i32
        })
        .await;
    }

    /// The nodes that have a topic's first partition, the one to lead it first.
    ///
    /// # Panics
    /// When no node runs, or it does not answer.
    pub async fn replicas(&self, topic: &str) -> Vec<usize> {
        let response = self.describe(topic).await.expect("a topic that exists");
        let replicas = response.topics[0].partitions[0].replica_nodes.iter();
        replicas.map(|node| node.0 as usize).collect()
    }

    async fn until_partitions(
        &self,
        topic: &str,
        check: impl Fn(&MetadataResponsePartition) -> bool,
    ) {
        eventually(PATIENCE, async || {
            let response = self.describe(topic).await?;
            let settled = response
                .topics
                .iter()
                .all(|topic| topic.error_code == 0 && topic.partitions.iter().all(&check));
            settled.then_some(())
        })
        .await;
    }

    async fn describe(&self, topic: &str) -> Option<MetadataResponse> {
        let running = self.nodes.iter().find(|node| node.process.is_some());
        let address = running.expect("a running node").address("PLAINTEXT");
        let name = StrBytes::from_string(topic.to_owned()).into();
        let asked = MetadataRequestTopic::default().with_name(Some(name));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![asked]))
            .with_allow_auto_topic_creation(false);
        let mut connection = Connection::open(&address.to_string()).await;
        connection.try_call(&request, 5).await.ok()
    }

    /// Runs a class of Kafka's tools and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let mut command = java(&self.dir.path().join("tools.log"));
        let output = command
            .arg(class)
            .args(arguments)
            .output()
            .expect("java runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{class} {arguments:?} failed: {printed}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }

    fn signal(&self, id: usize, wanted: Signal) {
        let process = self.nodes[id - 1].process.as_ref();
        signal(process.expect("a running node"), wanted);
    }

    fn home(&self, id: usize) -> PathBuf {
        self.dir.path().join(format!("node-{id}"))
    }

    fn launch(&mut self, id: usize) {
        let home = self.home(id);
        let output = File::create(home.join("out.log")).expect("a file for its output");
        let errors = output.try_clone().expect("a second handle of a file");
        // Kafka appends to its log; an earlier start's words must not be taken for this one's.
        let log = home.join("server.log");
        let _ = fs::rename(&log, home.join("server.log.before"));
        let process = java(&log)
            .arg("kafka.Kafka")
            .arg(home.join("server.properties"))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("java runs");
        self.nodes[id - 1].process = Some(process);
    }

    /// Its log is the only word on being ready: it listens before the controller lets it serve.
    async fn serving(&mut self, id: usize) {
        let log = self.home(id).join("server.log");
        let node = &mut self.nodes[id - 1];
        eventually(PATIENCE, || {
            let ended = node.process.as_mut().and_then(|p| p.try_wait().ok()?);
            let text = fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "Kafka node {id} ended: {text}");
            let serves = text.contains("Kafka Server started");
            async move { serves.then_some(()) }
        })
        .await;
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(mut process) = node.process.take() {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
    }
}

impl Node {
    fn address(&self, listener: &str) -> SocketAddr {
        let found = self.addresses.iter().find(|(name, _)| name == listener);
        found.unwrap_or_else(|| panic!("no listener {listener}")).1
    }
}

impl ApacheKafkaBuilder {
    /// Brokers, each a controller too. With three, internal topics have three replicas.
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// A line of `server.properties`; it wins over the defaults.
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// A further listener, with its security protocol: `SSL`, `SASL_PLAINTEXT` and so on.
    pub fn listener(mut self, name: impl Into<String>, protocol: impl Into<String>) -> Self {
        self.listeners.push((name.into(), protocol.into()));
        self
    }

    /// What clients of the plain listener are told, for a proxy before a single node.
    pub fn advertised(mut self, address: SocketAddr) -> Self {
        self.advertised = Some(address);
        self
    }

    /// Something for `StorageTool format`, such as `--add-scram` and its value.
    pub fn format_argument(mut self, argument: impl Into<String>) -> Self {
        self.format_arguments.push(argument.into());
        self
    }

    /// Starts the nodes and waits until each serves.
    ///
    /// # Panics
    /// When `TEST_KAFKA_HOME` is not set, or a node does not start.
    pub async fn start(self) -> ApacheKafka {
        let dir = TempDir::with_prefix("kafka-").expect("a folder for Kafka");
        let controllers: Vec<_> = (0..self.nodes).map(|_| free_address()).collect();
        let voters: Vec<_> = controllers
            .iter()
            .enumerate()
            .map(|(index, address)| format!("{}@{address}", index + 1))
            .collect();
        let mut kafka = ApacheKafka {
            nodes: Vec::new(),
            dir,
        };
        for (index, controller) in controllers.iter().enumerate() {
            let id = index + 1;
            let names = ["PLAINTEXT", "INTERNAL"].into_iter();
            let addresses = names
                .chain(self.listeners.iter().map(|(name, _)| name.as_str()))
                .map(|name| (name.to_owned(), free_address()))
                .collect();
            kafka.nodes.push(Node {
                id,
                process: None,
                addresses,
            });
            let home = kafka.home(id);
            fs::create_dir_all(&home).expect("a folder for a node");
            let properties = self.properties(&kafka.nodes[index], *controller, &voters, &home);
            fs::write(home.join("server.properties"), properties).expect("its properties");
            self.format(&home);
            kafka.launch(id);
        }
        for id in 1..=self.nodes {
            kafka.serving(id).await;
        }
        kafka
    }

    fn format(&self, home: &Path) {
        let output = java(&home.join("format.log"))
            .args(["kafka.tools.StorageTool", "format"])
            .args(["--cluster-id", CLUSTER_ID, "--config"])
            .arg(home.join("server.properties"))
            .args(&self.format_arguments)
            .output()
            .expect("java runs");
        assert!(
            output.status.success(),
            "formatting failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn properties(
        &self,
        node: &Node,
        controller: SocketAddr,
        voters: &[String],
        home: &Path,
    ) -> String {
        let replicas = self.nodes.min(3);
        let mut listeners = format!("CONTROLLER://{controller}");
        let mut advertised = String::new();
        let mut protocols =
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT".to_owned();
        for (name, address) in &node.addresses {
            let told = match self.advertised {
                Some(proxy) if name == "PLAINTEXT" => proxy,
                _ => *address,
            };
            let comma = if advertised.is_empty() { "" } else { "," };
            let _ = write!(listeners, ",{name}://{address}");
            let _ = write!(advertised, "{comma}{name}://{told}");
        }
        for (name, protocol) in &self.listeners {
            let _ = write!(protocols, ",{name}:{protocol}");
        }
        let mut text = String::new();
        let defaults = [
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", node.id.to_string()),
            ("controller.quorum.voters", voters.join(",")),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", "INTERNAL".to_owned()),
            ("listeners", listeners),
            ("advertised.listeners", advertised),
            ("listener.security.protocol.map", protocols),
            ("log.dirs", home.join("data").display().to_string()),
            ("offsets.topic.replication.factor", replicas.to_string()),
            ("offsets.topic.num.partitions", "3".to_owned()),
            (
                "transaction.state.log.replication.factor",
                replicas.to_string(),
            ),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("transaction.state.log.num.partitions", "3".to_owned()),
            (
                "share.coordinator.state.topic.replication.factor",
                "1".to_owned(),
            ),
            ("share.coordinator.state.topic.min.isr", "1".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("group.min.session.timeout.ms", "1000".to_owned()),
            // A killed node's leaderships move within seconds.
            ("broker.session.timeout.ms", "3000".to_owned()),
            ("broker.heartbeat.interval.ms", "500".to_owned()),
        ];
        for (name, value) in defaults
            .iter()
            .map(|(name, value)| (*name, value))
            .chain(self.settings.iter().map(|(name, value)| (&**name, value)))
        {
            let _ = writeln!(text, "{name}={value}");
        }
        text
    }
}

/// Java with Kafka's jars, logging to `log`; the class comes next. A node lives for seconds: the
/// quick compiler and the small collector suit it.
pub fn java(log: &Path) -> Command {
    let home = std::env::var_os(HOME_VARIABLE).unwrap_or_else(|| {
        panic!("{HOME_VARIABLE} is not set: the folder that `scripts/kafka jars` prints")
    });
    let logging =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka.d/log4j2.properties");
    let mut command = Command::new("java");
    command
        .args([
            "-Djava.net.preferIPv4Stack=true",
            "-XX:+UseSerialGC",
            "-Xmx400m",
        ])
        .args(["-XX:TieredStopAtLevel=1", "-Xshare:auto"])
        .arg(format!(
            "-Dlog4j2.configurationFile=file:{}",
            logging.display()
        ))
        .arg(format!("-Dkafka.log={}", log.display()))
        .arg("-cp")
        .arg(Path::new(&home).join("*"));
    command
}

fn signal(process: &Child, wanted: Signal) {
    let pid = Pid::from_child(process);
    kill_process(pid, wanted).expect("a process of ours can be signalled");
}

/// A loopback address whose port nobody listens at, and that no other test of this process was
/// given; below the ephemeral range, so that no outgoing connection takes it meanwhile.
pub fn free_address() -> SocketAddr {
    static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    loop {
        let port = 12_000 + (uuid::Uuid::new_v4().as_u128() % 7_000) as u16;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() && GIVEN.lock().expect("not poisoned").insert(port) {
            return address;
        }
    }
}
