//! Producers of the Java client, told line by line what to do; see `java/Producers.java`.

use std::path::Path;
use std::process::Stdio;

use testkit::apache;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::members::java_source;

/// Any number of producers in one process. Dropping it kills it.
#[derive(Debug)]
pub struct Producers {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Producers {
    /// Starts the process; its log is made in `folder`.
    ///
    /// # Panics
    /// When `TEST_KAFKA_HOME` is not set, or there is no Java.
    pub fn start(bootstrap: &str, folder: &Path) -> Self {
        let mut command = Command::from(apache::java(&folder.join("producers.log")));
        let mut child = command
            .arg(java_source("Producers"))
            .arg(bootstrap)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("java runs");
        Self {
            input: child.stdin.take().expect("piped"),
            output: BufReader::new(child.stdout.take().expect("piped")).lines(),
            _child: child,
        }
    }

    /// Has a line done, and returns what it answers after `ok`.
    ///
    /// # Panics
    /// When it failed.
    pub async fn tell(&mut self, line: &str) -> String {
        let written = self.input.write_all(format!("{line}\n").as_bytes()).await;
        written.expect("the Java process reads");
        let answer = self.output.next_line().await.expect("text");
        let answer = answer.unwrap_or_else(|| panic!("the Java process ended at {line:?}"));
        match answer.strip_prefix("ok") {
            Some(rest) => rest.trim().to_owned(),
            None => panic!("{line:?}: {answer}"),
        }
    }

    /// Sends a record and returns its offset; `content` is key, value and headers as the program
    /// takes them.
    pub async fn send(
        &mut self,
        producer: &str,
        topic: &str,
        partition: i32,
        content: &str,
    ) -> i64 {
        let line = format!("send {producer} {topic} {partition} {content}");
        self.tell(&line).await.parse().expect("an offset")
    }
}
