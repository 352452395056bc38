//! A member in a process of its own.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::eventually;

use crate::journal::Journal;
use crate::ownership::Change;

/// A member in a process of its own. Dropping it kills it.
pub struct Member {
    name: Arc<str>,
    child: Child,
    journal: Journal,
    listeners: Vec<JoinHandle<()>>,
}

impl Member {
    pub(super) fn start(name: &str, mut command: Command, journal: &Journal) -> Self {
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
    pub(super) fn listen<R: Read + Send + 'static>(
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

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Has it leave in order, and waits until it has.
    pub async fn leave(mut self) -> ExitStatus {
        // The end of its input is the Java member's signal; the others want a real one.
        drop(self.child.stdin.take());
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a process of ours");
        eventually(Duration::from_secs(60), || {
            let ended = self.child.try_wait().expect("its status");
            async move { ended }
        })
        .await
    }
}

impl Drop for Member {
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
