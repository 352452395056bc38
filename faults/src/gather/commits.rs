//! Looks at committed offsets while a run goes on.

use std::collections::HashMap;
use std::time::Duration;

use kafka::{Client, TopicPartition};
use testkit::eventually;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::history::{Commit, Group, now};

/// Time between two looks.
const EVERY: Duration = Duration::from_millis(25);

/// How long a group may take to work off what it was given.
const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until a group has committed everything: what could not be handled is then with the dead letters.
///
/// # Panics
/// When that takes too long.
pub async fn worked_off(client: &Client, group: &str) {
    eventually(PATIENCE, || async {
        let lag = client.admin().group_lag(group).await.ok()?;
        let all = !lag.is_empty() && lag.iter().all(|partition| partition.lag() == 0);
        all.then_some(())
    })
    .await;
}

/// Notes every change of some groups' commits until it is ended.
pub struct CommitWatch {
    end: oneshot::Sender<()>,
    task: JoinHandle<Vec<Commit>>,
}

impl CommitWatch {
    /// Watches groups by their names, over a connection of its own.
    pub fn start(client: Client, groups: Vec<(Group, String)>) -> Self {
        let (end, mut ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut last = HashMap::new();
            let mut commits = Vec::new();
            loop {
                // The last look comes after the wish to end.
                let over = !matches!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
                for (group, name) in &groups {
                    look(&client, *group, name, &mut last, &mut commits).await;
                }
                if over {
                    return commits;
                }
                sleep(EVERY).await;
            }
        });
        Self { end, task }
    }

    /// Looks once more, and answers what was seen.
    pub async fn end(self) -> Vec<Commit> {
        let _ = self.end.send(());
        self.task.await.expect("looking does not panic")
    }
}

/// A coordinator that does not answer now is asked again at the next look.
async fn look(
    client: &Client,
    group: Group,
    name: &str,
    last: &mut HashMap<(Group, TopicPartition), i64>,
    commits: &mut Vec<Commit>,
) {
    let admin = client.admin();
    let Ok(committed) = admin.committed_offsets(name).await else {
        return;
    };
    let seen = now();
    for (partition, commit) in committed {
        let offset = commit.offset;
        if last.insert((group, partition.clone()), offset) != Some(offset) {
            commits.push(Commit {
                group,
                partition,
                offset,
                seen,
            });
        }
    }
}
