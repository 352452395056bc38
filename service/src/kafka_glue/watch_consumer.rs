use std::time::Duration;

use kafka::{ConsumerState, ConsumerStats, ConsumerStatsHandle};
use tokio_util::sync::CancellationToken;

use crate::health::HealthPart;

/// How often to look; the consumer itself refreshes its statistics four times a second.
const INTERVAL: Duration = Duration::from_millis(250);

/// Reports whether a consumer is a member of its group and gets on, until `stop`.
pub async fn watch_consumer(
    stats: ConsumerStatsHandle,
    health: HealthPart,
    stop: CancellationToken,
) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => match problem(&stats.snapshot()) {
                None => {
                    health.up();
                }
                Some(problem) => {
                    health.down(problem);
                }
            },
        }
    }
}

fn problem(stats: &ConsumerStats) -> Option<String> {
    let group = &stats.group;
    match &stats.state {
        ConsumerState::Running => {}
        state => return Some(format!("group {group} is {state}")),
    }
    if stats.member_id.is_empty() {
        return Some(format!("not a member of group {group} at the moment"));
    }
    if stats.stuck > 0 {
        return Some(format!(
            "group {group}: {} records are stuck in their handler",
            stats.stuck
        ));
    }
    stats.partitions.iter().find_map(|partition| {
        let problem = partition.problem.as_ref()?;
        Some(format!("{}: {problem}", partition.partition))
    })
}
