//! The steps as a Markdown table.

use std::fmt::Write;

use super::step::Step;

const HEAD: &str = "\
| orders/s | for s | acknowledged | refused | p50 ms | p99 ms | CPU µs an order | B an order: log | view | notifications | WAL | other | view s behind (records) | notifications s behind (number) | through after s | sustained |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

pub fn markdown(steps: &[Step]) -> String {
    let mut text = String::from(HEAD);
    for step in steps {
        let an_order = |whole: f64| whole / step.acknowledged.max(1) as f64;
        let bytes = |kind: i64| an_order(kind as f64);
        let sustained = match step.sustained() {
            Ok(()) => "yes",
            Err(why) => why,
        };
        let _ = writeln!(
            text,
            "| {} | {}{} | {} | {} | {:.1} | {:.1} | {:.1} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} \
             | {:.2} ({}) | {:.2} ({}) | {:.2} | {sustained} |",
            step.rate,
            step.seconds,
            if step.is_broken_off {
                ", broken off"
            } else {
                ""
            },
            step.acknowledged,
            step.refused,
            step.p50.as_secs_f64() * 1e3,
            step.p99.as_secs_f64() * 1e3,
            an_order(step.cpu.as_secs_f64() * 1e6),
            bytes(step.grown.log),
            bytes(step.grown.view),
            bytes(step.grown.notifications),
            bytes(step.grown.wal),
            bytes(step.grown.other),
            step.view_lag.as_secs_f64(),
            step.view_records,
            step.notification_lag.as_secs_f64(),
            step.notifications_behind,
            step.through_after.as_secs_f64(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::shop::program::Disk;

    #[test]
    fn costs_are_shown_an_order() {
        let step = Step {
            rate: 100,
            seconds: 10,
            limit: Duration::from_secs(1),
            acknowledged: 1_000,
            in_time: 1_000,
            cpu: Duration::from_millis(80),
            grown: Disk {
                log: 500_000,
                wal: -4_000,
                ..Disk::default()
            },
            p99: Duration::from_micros(2_340),
            view_lag: Duration::from_millis(500),
            view_records: 7,
            ..Step::default()
        };
        let table = markdown(&[step]);
        let row = "| 100 | 10 | 1000 | 0 | 0.0 | 2.3 | 80.0 | 500 | 0 | 0 | -4 | 0 \
                   | 0.50 (7) | 0.00 (0) | 0.00 | yes |\n";
        assert!(table.ends_with(row), "{table}");
        let columns = |line: &str| line.matches('|').count();
        let mut lines = table.lines();
        let first = lines.next().map(columns);
        assert!(lines.all(|line| Some(columns(line)) == first), "{table}");
    }
}
