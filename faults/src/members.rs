//! A consumer group whose members are of different kinds: ours, Java's, and librdkafka's (`kcat`).

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use kafka::{Assignor, Client, ClientConfig, Consumer, ConsumerBuilder, ConsumerError};
use kafka::{ConsumerRecord, Handler, Outcome, Report};
use rustix::process::{Pid, Signal, kill_process};
use testkit::apache;
use tokio::sync::oneshot;
use tracing::Instrument;

use crate::journal::{self, Journal};
use crate::ownership::Change;

/// Of every member: how long after its death its partitions stay its own. The least that Apache
/// Kafka allows by default.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// Of every member.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(300);

/// A group on one topic, and what its members tell.
pub struct Group {
    bootstrap: String,
    name: String,
    topic: String,
    assignor: Assignor,
    pub journal: Journal,
}

impl Group {
    /// Every member will offer this strategy alone.
    pub fn new(bootstrap: &str, topic: &str, assignor: Assignor) -> Self {
        let name = testkit::unique("shared");
        Self {
            bootstrap: bootstrap.to_owned(),
            journal: Journal::new(&name),
            name,
            topic: topic.to_owned(),
            assignor,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts a member of the Java client; see `java/GroupMember.java`.
    ///
    /// # Panics
    /// When `TEST_KAFKA_HOME` is not set, or there is no Java.
    pub fn java(&self, name: &str, folder: &Path) -> Foreign {
        let assignor = match self.assignor {
            Assignor::Range => "RangeAssignor",
            Assignor::RoundRobin => "RoundRobinAssignor",
            Assignor::CooperativeSticky => "CooperativeStickyAssignor",
        };
        let mut command = apache::java(&folder.join(format!("{name}.log")));
        command
            .arg(java_source("GroupMember"))
            .args([&self.bootstrap, &self.name, &self.topic])
            .arg(format!("org.apache.kafka.clients.consumer.{assignor}"))
            .arg(SESSION_TIMEOUT.as_millis().to_string());
        let mut member = Foreign::start(name, command, &self.journal);
        member.listen(|child| child.stdout.take(), java_line());
        member.listen(|child| child.stderr.take(), |_, _, _| false);
        member
    }

    /// Starts `kcat -G`. Its debug lines tell the generations.
    ///
    /// # Panics
    /// When there is no kcat.
    pub fn kcat(&self, name: &str) -> Foreign {
        let mut command = Command::new("kcat");
        command
            .args(["-b", &self.bootstrap, "-G", &self.name, "-u", "-d", "cgrp"])
            .args(["-f", "record %p %o\n", "-X", "auto.offset.reset=earliest"])
            .args(["-X", "auto.commit.interval.ms=500"]);
        let settings = [
            ("session.timeout.ms", SESSION_TIMEOUT.as_millis()),
            ("heartbeat.interval.ms", HEARTBEAT_INTERVAL.as_millis()),
        ];
        for (setting, value) in settings {
            command.arg("-X").arg(format!("{setting}={value}"));
        }
        let assignor = self.assignor.name();
        command
            .arg("-X")
            .arg(format!("partition.assignment.strategy={assignor}"))
            .arg(&self.topic);
        let mut member = Foreign::start(name, command, &self.journal);
        member.listen(|child| child.stdout.take(), record_line);
        member.listen(|child| child.stderr.take(), kcat_line());
        member
    }

    /// Starts a consumer of ours in this process.
    pub fn ours(&self, name: &str) -> Ours {
        let name: Arc<str> = name.into();
        journal::listen(&name, &self.journal);
        let handler = Noting {
            member: name.clone(),
            journal: self.journal.clone(),
        };
        let consumer = self
            .consumer([self.assignor])
            .build(handler)
            .expect("a good configuration");
        let (stop, stopped) = oneshot::channel();
        let run = run(consumer, stopped);
        let task = tokio::spawn(run.instrument(tracing::info_span!("member", member = %name)));
        Ours {
            name,
            journal: self.journal.clone(),
            stop,
            task,
        }
    }

    /// A consumer of the group that is not part of it yet, on connections of its own.
    pub fn consumer(&self, assignors: impl IntoIterator<Item = Assignor>) -> ConsumerBuilder {
        let config = ClientConfig::new(&self.bootstrap).expect("an address");
        Client::new(config)
            .consumer(&self.name)
            .topics([&self.topic])
            .assignors(assignors)
            .session_timeout(SESSION_TIMEOUT)
            .heartbeat_interval(HEARTBEAT_INTERVAL)
            .commit_interval(Duration::from_millis(100))
            .discard_rejected()
    }
}

/// A Java program of this crate, as a file that `java` runs.
pub fn java_source(class: &str) -> std::path::PathBuf {
    let name = format!("java/{class}.java");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A member in a process of its own. Dropping it kills it.
pub struct Foreign {
    name: Arc<str>,
    child: Child,
    journal: Journal,
    listeners: Vec<JoinHandle<()>>,
}

impl Foreign {
    fn start(name: &str, mut command: Command, journal: &Journal) -> Self {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self {
            name: name.into(),
            child,
            journal: journal.clone(),
            listeners: Vec::new(),
        }
    }

    /// Gives the lines of an output to `understand`, in a thread of its own; what it does not
    /// understand is kept for a failure's message.
    fn listen<R: Read + Send + 'static>(
        &mut self,
        output: impl FnOnce(&mut Child) -> Option<R>,
        mut understand: impl FnMut(&Journal, &Arc<str>, &str) -> bool + Send + 'static,
    ) {
        let output = output(&mut self.child).expect("a piped output");
        let (journal, name) = (self.journal.clone(), self.name.clone());
        self.listeners.push(std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line);
                if !understand(&journal, &name, &line) && !line.starts_with("%7|") {
                    journal.note(&name, &line);
                }
            }
        }));
    }

    /// Ends it with SIGKILL. What it had said by then is in the journal.
    pub fn kill(self) {
        drop(self);
    }

    /// Has it leave in order, and waits until it has.
    pub async fn leave(mut self) {
        // The end of its input is the Java member's signal; kcat wants a real one.
        drop(self.child.stdin.take());
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a process of ours");
        testkit::eventually(Duration::from_secs(60), || {
            let ended = self.child.try_wait().expect("its status");
            async move { ended }
        })
        .await;
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // They end with its outputs.
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
        self.journal.changed(&self.name, &Change::Gone);
    }
}

/// A consumer of ours.
pub struct Ours {
    name: Arc<str>,
    journal: Journal,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<Report, ConsumerError>>,
}

impl Ours {
    /// Drops it wherever it is.
    pub async fn drop_it(self) {
        self.task.abort();
        let _ = self.task.await;
        self.journal.changed(&self.name, &Change::Gone);
    }

    /// Has it leave in order.
    ///
    /// # Panics
    /// When it left anything undone.
    pub async fn leave(self) {
        drop(self.stop);
        let report = self.task.await.expect("no panic").expect("a good end");
        assert!(report.is_clean(), "{}: {report}", self.name);
        self.journal.changed(&self.name, &Change::Gone);
    }
}

async fn run(
    consumer: Consumer<Noting>,
    stopped: oneshot::Receiver<()>,
) -> Result<Report, ConsumerError> {
    let shutdown = async {
        let _ = stopped.await;
    };
    consumer.run(shutdown).await
}

struct Noting {
    member: Arc<str>,
    journal: Journal,
}

impl Handler for Noting {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        self.journal
            .handled(&self.member, record.partition, record.offset);
        Outcome::Done
    }
}

/// `record PARTITION OFFSET`
fn record_line(journal: &Journal, member: &Arc<str>, line: &str) -> bool {
    let mut words = line.split(' ');
    let (Some("record"), Some(partition), Some(offset)) =
        (words.next(), words.next(), words.next())
    else {
        return false;
    };
    let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse()) else {
        return false;
    };
    journal.handled(member, partition, offset);
    true
}

/// Records, and `assigned | revoked | lost GENERATION PARTITION…`
fn java_line() -> impl FnMut(&Journal, &Arc<str>, &str) -> bool {
    |journal, member, line| {
        if record_line(journal, member, line) {
            return true;
        }
        let mut words = line.split(' ');
        let what = words.next().unwrap_or_default();
        let numbers: Result<Vec<i32>, _> = words.map(str::parse).collect();
        let Ok([generation, partitions @ ..]) = numbers.as_deref() else {
            return false;
        };
        let (generation, partitions) = (*generation, partitions.to_vec());
        let change = match what {
            "assigned" => Change::Assigned {
                generation,
                partitions,
            },
            "revoked" => Change::Revoked {
                generation,
                partitions,
            },
            "lost" => Change::Lost { partitions },
            _ => return false,
        };
        journal.changed(member, &change);
        true
    }
}

/// The generation of each JoinGroup answer among the debug lines, and the callbacks' lines:
/// `% Group … rebalanced (memberid …): assigned: topic [0], topic [1]` of eager strategies,
/// `% Group … rebalanced: incremental assignment of 2 partition(s) (…): topic [0], …` of others.
fn kcat_line() -> impl FnMut(&Journal, &Arc<str>, &str) -> bool {
    let mut generation = -1;
    move |journal, member, line| {
        if let Some((_, after)) = line.split_once("JoinGroup response: GenerationId ") {
            let number = after
                .split(',')
                .next()
                .and_then(|number| number.parse().ok());
            generation = number.filter(|number| *number >= 0).unwrap_or(generation);
            return true;
        }
        let Some((_, told)) = line
            .strip_prefix("% Group ")
            .and_then(|rest| rest.split_once(" rebalanced"))
        else {
            return false;
        };
        let partitions = told
            .split('[')
            .skip(1)
            .filter_map(|rest| rest.split(']').next()?.parse().ok())
            .collect();
        let change = if told.contains("assigned:") || told.contains("incremental assignment") {
            Change::Assigned {
                generation,
                partitions,
            }
        } else if told.contains("revoked:") || told.contains("incremental revoke") {
            Change::Revoked {
                generation,
                partitions,
            }
        } else {
            return false;
        };
        journal.changed(member, &change);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        mut understand: impl FnMut(&Journal, &Arc<str>, &str) -> bool,
        lines: &[&str],
    ) -> Journal {
        let journal = Journal::new("test");
        for line in lines {
            assert!(understand(&journal, &"a".into(), line), "{line}");
        }
        assert!(!understand(&journal, &"a".into(), "something else"));
        journal
    }

    #[test]
    fn what_the_java_member_says_is_understood() {
        let journal = told(
            java_line(),
            &[
                "assigned 3 0 1",
                "record 1 17",
                "revoked 3 0",
                "lost -1",
                "assigned 4",
            ],
        );
        journal.with(|told| {
            assert_eq!(told.ownership.owners().into_keys().collect::<Vec<_>>(), [1]);
            assert!(told.handled.contains_key(&(1, 17)));
        });
    }

    #[test]
    fn what_kcat_says_is_understood() {
        let journal = told(
            kcat_line(),
            &[
                "%7|1.2|JOINGROUP|x| [thrd:main]: JoinGroup response: GenerationId -1, Protocol , LeaderId ",
                "%7|1.3|JOINGROUP|x| [thrd:main]: JoinGroup response: GenerationId 5, Protocol range, LeaderId y",
                "% Group g rebalanced (memberid rdkafka-1): assigned: t [0], t [11]",
                "% Group g rebalanced: incremental revoke of 1 partition(s) (memberid x, COOPERATIVE rebalance protocol): t [0]",
                "% Group g rebalanced: incremental assignment of 0 partition(s) (memberid x, COOPERATIVE rebalance protocol): ",
            ],
        );
        let later = Change::Assigned {
            generation: 5,
            partitions: vec![11],
        };
        journal.changed("b", &later);
        journal.with(|told| {
            assert_eq!(told.ownership.owners()[&11], ["a", "b"]);
            assert_eq!(told.ownership.overlaps().len(), 1);
        });
    }
}
