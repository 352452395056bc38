use std::time::Duration;

use kafka::{
    ConsumerState, ConsumerStats, ConsumerStatsHandle, HeldBatch, PartitionStats, TopicPartition,
};
use tokio_util::sync::CancellationToken;

use crate::health::HealthPart;

/// How often to look; the consumer itself refreshes its statistics four times a second.
const INTERVAL: Duration = Duration::from_millis(250);

/// Held partitions that are named; the others are counted.
const NAMED: usize = 3;

/// Where a consumer's health is reported.
#[derive(Clone, Debug)]
pub struct ConsumerHealth {
    /// It is a member of its group and gets on, be it with one partition.
    pub consumes: HealthPart,
    /// Nothing holds any of its partitions.
    pub unhindered: HealthPart,
}

/// Reports how a consumer does, until `stop`.
pub async fn watch_consumer(
    stats: ConsumerStatsHandle,
    health: ConsumerHealth,
    stop: CancellationToken,
) {
    let mut interval = tokio::time::interval(INTERVAL);
    let mut told = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {
                let stats = stats.snapshot();
                report(&health.consumes, standstill(&stats));
                report(&health.unhindered, hindrance(&stats));
                tell(&stats, &mut told);
            }
        }
    }
}

fn report(part: &HealthPart, problem: Option<String>) {
    match problem {
        None => part.up(),
        Some(problem) => part.down(problem),
    };
}

/// Why nothing is consumed at all.
fn standstill(stats: &ConsumerStats) -> Option<String> {
    let group = &stats.group;
    if let Some(problem) = &stats.group_problem {
        return Some(problem.clone());
    }
    match &stats.state {
        ConsumerState::Running => {}
        state => return Some(format!("group {group} is {state}")),
    }
    if stats.member_id.is_empty() {
        return Some(format!("not a member of group {group} at the moment"));
    }
    if stats.partitions.iter().any(|p| p.problem.is_none()) {
        return None;
    }
    // Without partitions there is nothing to stand still.
    held(stats).map(|problem| format!("group {group}: all partitions are held; {problem}"))
}

/// What holds a part of it.
fn hindrance(stats: &ConsumerStats) -> Option<String> {
    let stuck = (stats.stuck > 0).then(|| {
        format!(
            "group {}: {} records are stuck in their handler",
            stats.group, stats.stuck
        )
    });
    let unowned = stats.unowned.as_ref();
    let unowned = unowned.map(|problem| format!("group {}: {problem}", stats.group));
    let problems: Vec<_> = stuck
        .into_iter()
        .chain(fenced(stats))
        .chain(unowned)
        .chain(held(stats))
        .collect();
    (!problems.is_empty()).then(|| problems.join("; "))
}

/// That another process has the name of this one.
fn fenced(stats: &ConsumerStats) -> Option<String> {
    let member = stats.fenced.as_ref()?;
    Some(format!(
        "group {}: another process uses this instance's static member id {} (from {}); it goes on without one, and a \
         restart after a crash waits for the session timeout; give each instance its own",
        stats.group,
        member.id(),
        member.source().unwrap_or("the configuration"),
    ))
}

/// Which partitions are held, and why.
fn held(stats: &ConsumerStats) -> Option<String> {
    let mut held = stats.partitions.iter().filter_map(|partition| {
        let problem = partition.problem.as_ref()?;
        let way_out = match &partition.held {
            Some(held) => format!("; {}", way_out(stats, partition, held)),
            None => String::new(),
        };
        Some(format!("{}: {problem}{way_out}", partition.partition))
    });
    let mut named: Vec<_> = held.by_ref().take(NAMED).collect();
    match held.count() {
        0 => {}
        more => named.push(format!("and {more} more")),
    }
    (!named.is_empty()).then(|| named.join("; "))
}

/// What an operator types to pass over a batch that nobody can read.
fn way_out(stats: &ConsumerStats, partition: &PartitionStats, held: &HeldBatch) -> String {
    let of = &partition.partition;
    let to = held.last.map_or("TO".to_owned(), |last| last.to_string());
    format!(
        "`consumer-svc dlt skip {} {} {} {to} --group {}` gives these offsets up and goes on behind them",
        of.topic, of.partition, held.first, stats.group
    )
}

/// Tells of batches that hold a partition and were not told of before.
fn tell(stats: &ConsumerStats, told: &mut Vec<(TopicPartition, i64)>) {
    let held = stats.partitions.iter().filter_map(|partition| {
        let held = partition.held.as_ref()?;
        Some((partition, held, (partition.partition.clone(), held.first)))
    });
    let held: Vec<_> = held.collect();
    for (partition, batch, name) in &held {
        if !told.contains(name) {
            tracing::error!(
                group = %stats.group, topic = %partition.partition.topic,
                partition = partition.partition.partition, offset = batch.first, last_offset = batch.last,
                "a batch that cannot be read holds the partition: {}; {}",
                batch.reason, way_out(stats, partition, batch)
            );
        }
    }
    *told = held.into_iter().map(|(_, _, name)| name).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member with these partitions' problems.
    fn running(problems: &[Option<&str>]) -> ConsumerStats {
        let partition = |(index, problem): (usize, &Option<&str>)| PartitionStats {
            partition: TopicPartition::new("t", index as i32),
            committed: None,
            position: None,
            high_watermark: None,
            unfinished: 0,
            oldest_unfinished: None,
            dead_letters_pending: 0,
            problem: problem.map(str::to_owned),
            held: None,
        };
        ConsumerStats {
            group: "g".into(),
            state: ConsumerState::Running,
            member_id: "m".to_owned(),
            partitions: problems.iter().enumerate().map(partition).collect(),
            ..ConsumerStats::default()
        }
    }

    #[test]
    fn one_partition_that_is_held_is_no_standstill() {
        let part = running(&[None, Some("letters wait")]);
        assert_eq!(standstill(&part), None);
        assert_eq!(hindrance(&part).unwrap(), "t-1: letters wait");
        let whole = running(&[Some("no leader"), Some("letters wait")]);
        assert!(standstill(&whole).unwrap().contains("t-0: no leader"));
        let many = hindrance(&running(&[Some("no leader"); 5])).unwrap();
        assert_eq!(
            many,
            "t-0: no leader; t-1: no leader; t-2: no leader; and 2 more"
        );
        let free = running(&[None]);
        assert_eq!((standstill(&free), hindrance(&free)), (None, None));
        let idle = running(&[]);
        assert_eq!((standstill(&idle), hindrance(&idle)), (None, None));
    }

    #[test]
    fn a_name_that_another_process_has_is_said_and_is_no_standstill() {
        let fenced = ConsumerStats {
            fenced: Some(kafka::StaticMember::derived("pod-1", "INSTANCE_NAME")),
            ..running(&[None])
        };
        assert_eq!(standstill(&fenced), None);
        let said = hindrance(&fenced).unwrap();
        assert!(said.contains("pod-1 (from INSTANCE_NAME)"), "{said}");
    }

    #[test]
    fn a_batch_that_cannot_be_read_is_named_with_the_command() {
        let mut stats = running(&[Some("its checksum is wrong")]);
        let held = |last| HeldBatch {
            first: 17,
            last,
            reason: "its checksum is wrong".to_owned(),
        };
        stats.partitions[0].held = Some(held(Some(19)));
        let said = hindrance(&stats).unwrap();
        assert!(
            said.contains("`consumer-svc dlt skip t 0 17 19 --group g`"),
            "{said}"
        );
        stats.partitions[0].held = Some(held(None));
        let said = hindrance(&stats).unwrap();
        assert!(said.contains("skip t 0 17 TO --group g"), "{said}");
        let mut told = Vec::new();
        tell(&stats, &mut told);
        assert_eq!(told, [(TopicPartition::new("t", 0), 17)]);
        tell(&running(&[None]), &mut told);
        assert_eq!(told, []);
    }

    #[test]
    fn a_stuck_record_is_no_standstill() {
        let stuck = ConsumerStats {
            stuck: 1,
            ..running(&[None, Some("letters wait")])
        };
        assert_eq!(standstill(&stuck), None);
        let said = hindrance(&stuck).unwrap();
        assert!(said.contains("1 records are stuck"), "{said}");
        assert!(said.contains("t-1: letters wait"), "{said}");
    }

    #[test]
    fn a_group_that_refuses_its_member_says_why() {
        let refused = ConsumerStats {
            state: ConsumerState::Starting,
            member_id: String::new(),
            group_problem: Some("group g: its members share no assignment strategy".to_owned()),
            ..running(&[])
        };
        let said = standstill(&refused).unwrap();
        assert_eq!(said, "group g: its members share no assignment strategy");
        let unowned = ConsumerStats {
            unowned: Some("no member reads u-0".to_owned()),
            ..running(&[None])
        };
        assert_eq!(standstill(&unowned), None);
        assert_eq!(hindrance(&unowned).unwrap(), "group g: no member reads u-0");
    }

    #[test]
    fn who_is_no_member_or_paused_stands_still() {
        let outside = ConsumerStats {
            member_id: String::new(),
            ..running(&[])
        };
        assert!(standstill(&outside).unwrap().contains("not a member"));
        let paused = ConsumerStats {
            state: ConsumerState::Paused("database away".to_owned()),
            ..running(&[None])
        };
        assert!(standstill(&paused).unwrap().contains("database away"));
    }
}
