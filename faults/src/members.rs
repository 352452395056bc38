//! A consumer group whose members are of different kinds: ours, Java's, and librdkafka's (`kcat`).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kafka::{Admin, Assignor, Client, ClientConfig, ConsumerBuilder};
use testkit::apache;

use crate::journal::Journal;
use crate::programs;

mod lines;
mod member;

pub use self::member::Member;

/// Of every member: how long after its death its partitions stay its own. The least that Apache
/// Kafka allows by default.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// Of every member.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(300);

/// Of ours.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);

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
    /// When `TEST_KAFKA_HOME` is not set, there is no Java, or it has no such strategy.
    pub fn java(&self, name: &str, folder: &Path) -> Member {
        let assignor = match self.assignor {
            Assignor::Range => "RangeAssignor",
            Assignor::RoundRobin => "RoundRobinAssignor",
            Assignor::RoundRobinAssigner => {
                panic!("kafkajs's own: Java has no strategy of that name")
            }
            Assignor::CooperativeSticky => "CooperativeStickyAssignor",
        };
        let mut command = apache::java(&folder.join(format!("{name}.log")));
        command
            .arg(java_source("GroupMember"))
            .args([&self.bootstrap, &self.name, &self.topic])
            .arg(format!("org.apache.kafka.clients.consumer.{assignor}"))
            .arg(SESSION_TIMEOUT.as_millis().to_string());
        let mut member = Member::start(name, command, &self.journal);
        member.listen(|child| child.stdout.take(), lines::plain_line);
        member.listen(|child| child.stderr.take(), |_, _, _| false);
        member
    }

    /// Starts `kcat -G`. Its debug lines tell the generations.
    ///
    /// # Panics
    /// When there is no kcat.
    pub fn kcat(&self, name: &str) -> Member {
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
        let mut member = Member::start(name, command, &self.journal);
        member.listen(|child| child.stdout.take(), lines::record_line);
        member.listen(|child| child.stderr.take(), lines::kcat_line());
        member
    }

    /// Starts a consumer of ours, in a process of its own; see `bin/group-member.rs`.
    ///
    /// # Panics
    /// When the program was not built.
    pub fn ours(&self, name: &str) -> Member {
        let mut command = Command::new(programs::path("group-member"));
        command.args([&self.bootstrap, &self.name, &self.topic]);
        command.arg(self.assignor.name());
        let mut member = Member::start(name, command, &self.journal);
        member.listen(|child| child.stdout.take(), lines::plain_line);
        member.listen(|child| child.stderr.take(), |_, _, _| false);
        member
    }

    /// What the group has committed, by partition; `None` when it cannot be told.
    pub async fn commits(&self, admin: &Admin) -> Option<BTreeMap<i32, i64>> {
        let commits = admin.committed_offsets(&self.name).await.ok()?;
        let by_partition = commits.into_iter();
        Some(
            by_partition
                .map(|(place, commit)| (place.partition, commit.offset))
                .collect(),
        )
    }

    /// Ends a member with SIGKILL; the journal gets the group's commits of just before.
    ///
    /// # Panics
    /// When the commits cannot be told.
    pub async fn kill(&self, member: Member, admin: &Admin) {
        let commits = self.commits(admin).await.expect("the group's commits");
        self.journal.dies(member.name(), commits);
        member.kill();
    }

    /// A consumer of ours that is not part of the group yet, on connections of its own.
    pub fn consumer(&self, assignor: Assignor) -> ConsumerBuilder {
        consumer(&self.bootstrap, &self.name, &self.topic, assignor)
    }
}

/// A consumer of ours as every group has it.
///
/// # Panics
/// When `bootstrap` is no address.
pub fn consumer(bootstrap: &str, group: &str, topic: &str, assignor: Assignor) -> ConsumerBuilder {
    Client::new(ClientConfig::new(bootstrap).expect("an address"))
        .consumer(group)
        .topics([topic])
        .assignors([assignor])
        .session_timeout(SESSION_TIMEOUT)
        .heartbeat_interval(HEARTBEAT_INTERVAL)
        .commit_interval(COMMIT_INTERVAL)
        .discard_rejected()
}

/// A Java program of this crate, as a file that `java` runs.
pub fn java_source(class: &str) -> std::path::PathBuf {
    let name = format!("java/{class}.java");
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}
