use std::collections::HashMap;
use std::time::{Duration, Instant};

use kafka::{Client, Ends, OpenTransaction, TopicPartition, TopicsLook};

use super::explained;
use super::topics::{LetterTopics, TopicPlan};
use crate::health::HealthPart;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long a leader may take to answer, connecting included.
const PATIENCE: Duration = Duration::from_secs(4);

/// Partitions that are named; the others are counted.
const NAMED: usize = 3;

/// Looks every few seconds at the topics that a service works with, once they are there: whether one was deleted,
/// whether each leader answers, and whether a transaction that nobody ends holds up their readers.
pub(super) async fn watch_topics(client: Client, plan: TopicPlan, health: HealthPart) {
    let names: Vec<&str> = plan.names().collect();
    let mut letters = LetterTopics::new();
    let admin = client.admin().with_timeout(PATIENCE);
    let bootstrap = client.config().bootstrap_servers.join(",");
    let mut held = HeldBack::new(plan.open_transaction);
    loop {
        // Without any broker the watch of Kafka itself speaks.
        if let Ok(look) = admin.look(&names, PATIENCE).await {
            let mut problems = problems(&look, &bootstrap);
            for ends in held.due(&look.ends, Instant::now()) {
                let found = admin.open_transaction(&ends.partition, ends.stable).await;
                problems.push(match found {
                    Ok(found) => held_back(&ends, found.as_ref(), &bootstrap),
                    Err(error) => format!(
                        "{} ({})",
                        held_back(&ends, None, &bootstrap),
                        explained(&error)
                    ),
                });
            }
            problems.extend_from_slice(letters.surprises(&admin, &plan).await);
            report(&health, &problems);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

fn report(health: &HealthPart, problems: &[String]) {
    if problems.is_empty() {
        if health.up() {
            tracing::info!("topics: all are there, and their leaders answer");
        }
        return;
    }
    let said = problems.join("; ");
    if health.is_up() {
        tracing::warn!("topics: {said}");
    }
    health.down(said);
}

/// What keeps requests and readers from the topics.
fn problems(look: &TopicsLook, bootstrap: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if !look.missing.is_empty() {
        problems.push(format!(
            "missing: {}; they were there at start: create them again, or restart this service to have them created",
            look.missing.join(", ")
        ));
    }
    if !look.leaderless.is_empty() {
        problems.push(format!("without a leader: {}", named(&look.leaderless)));
    }
    for silent in &look.silent {
        problems.push(format!(
            "broker {}, leader of {}, does not answer at {}, the address that it advertises (advertised.listeners; \
             the brokers at {bootstrap} pass it on): {}",
            silent.node,
            named(&silent.partitions),
            silent.address,
            explained(&silent.error)
        ));
    }
    problems
}

fn named(partitions: &[TopicPartition]) -> String {
    let mut names: Vec<_> = partitions
        .iter()
        .take(NAMED)
        .map(ToString::to_string)
        .collect();
    if partitions.len() > NAMED {
        names.push(format!("{} more", partitions.len() - NAMED));
    }
    names.join(", ")
}

/// Since when the readers of a partition stand at the same open transaction.
#[derive(Debug)]
struct HeldBack {
    /// What is long.
    long: Duration,
    since: HashMap<TopicPartition, (i64, Instant)>,
}

impl HeldBack {
    fn new(long: Duration) -> Self {
        Self {
            long,
            since: HashMap::new(),
        }
    }

    /// The partitions that have stood for long.
    fn due(&mut self, ends: &[Ends], now: Instant) -> Vec<Ends> {
        let mut due = Vec::new();
        for ends in ends {
            if ends.stable >= ends.end {
                self.since.remove(&ends.partition);
                continue;
            }
            let entry = self.since.entry(ends.partition.clone());
            let (stable, since) = entry.or_insert((ends.stable, now));
            if *stable != ends.stable {
                (*stable, *since) = (ends.stable, now);
            } else if now.duration_since(*since) >= self.long {
                due.push(ends.clone());
            }
        }
        due
    }
}

/// What an operator needs to know, and to do.
fn held_back(ends: &Ends, found: Option<&OpenTransaction>, bootstrap: &str) -> String {
    let Ends {
        partition,
        stable,
        end,
    } = ends;
    let who = match found {
        Some(open) => format!(
            "producer id {} (epoch {}, last write at {} ms since 1970)",
            open.producer_id, open.producer_epoch, open.last_timestamp
        ),
        None => "a producer that the broker does not name".to_owned(),
    };
    format!(
        "{partition}: {who} holds a transaction open at offset {stable}, and nobody is given the {} offsets from there on; \
         where its owner does not end it: kafka-transactions.sh --bootstrap-server {bootstrap} abort --topic {} \
         --partition {} --start-offset {stable}",
        end - stable,
        partition.topic,
        partition.partition
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(partition: i32, stable: i64, end: i64) -> Ends {
        Ends {
            partition: TopicPartition::new("order_topic", partition),
            stable,
            end,
        }
    }

    #[test]
    fn what_stands_at_one_transaction_for_long_is_due() {
        let long = Duration::from_secs(75);
        let mut held = HeldBack::new(long);
        let start = Instant::now();
        let late = start + long;
        let both = [ends(0, 17, 40), ends(1, 5, 9)];
        assert!(held.due(&both, start).is_empty());
        // The other one's transactions come and go.
        let moved = [ends(0, 17, 90), ends(1, 8, 99)];
        assert_eq!(held.due(&moved, late), [ends(0, 17, 90)]);
        assert_eq!(held.due(&moved, late + long).len(), 2);
        // Ended.
        assert!(held.due(&[ends(0, 90, 90)], late).is_empty());
        assert!(held.due(&both[..1], late).is_empty(), "counted anew");
    }

    #[test]
    fn an_open_transaction_is_named_with_the_command_that_ends_it() {
        let open = OpenTransaction {
            producer_id: 4001,
            producer_epoch: 2,
            start_offset: 17,
            last_timestamp: 1_000,
        };
        let said = held_back(&ends(2, 17, 40), Some(&open), "kafka:9092");
        for part in [
            "order_topic-2",
            "producer id 4001",
            "offset 17",
            "23 offsets",
            "kafka-transactions.sh --bootstrap-server kafka:9092 abort --topic order_topic --partition 2 --start-offset 17",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
