//! The report: a line for each case with medians over the rounds, then how ours stand to rskafka.

use std::fmt::Write;

use crate::client::{Case, Figures};
use crate::measure::median;

/// What one case gave in each round.
#[derive(Debug, Default)]
pub struct Rounds {
    cases: Vec<(Case, Vec<Figures>)>,
}

/// Ours, what it is put beside, and the most CPU a record it may take, as a multiple of the other.
/// Keyed sending may cost half as much again as rskafka's bare produce; consuming through a group
/// has to stay below its bare fetch. `send`, whose batches are what its callers have in flight, is
/// put beside batches of that size.
const GOALS: [(Case, Case, f64); 6] = [
    (Case::Enqueue, Case::RskafkaProduce, 1.5),
    (Case::Send, Case::RskafkaSmallBatches, 1.5),
    (Case::EnqueueHeaders, Case::RskafkaProduceHeaders, 1.5),
    (Case::SendHeaders, Case::RskafkaProduceHeaders, 1.5),
    (Case::Group, Case::RskafkaFetch, 1.0),
    (Case::GroupHeaders, Case::RskafkaFetchHeaders, 1.0),
];

impl Rounds {
    pub fn add(&mut self, case: Case, figures: Figures) {
        match self.cases.iter_mut().find(|(known, _)| *known == case) {
            Some((_, rounds)) => rounds.push(figures),
            None => self.cases.push((case, vec![figures])),
        }
    }

    fn median_of(&self, case: Case, value: impl Fn(&Figures) -> f64) -> Option<f64> {
        let (_, rounds) = self.cases.iter().find(|(known, _)| *known == case)?;
        Some(median(rounds.iter().map(value).collect()))
    }

    /// Markdown: medians, with the lowest and highest CPU a record behind them.
    pub fn markdown(&self) -> String {
        let mut text = String::from(
            "| case | CPU µs a record | (lowest to highest) | records/s | peak MB |\n|---|---|---|---|---|\n",
        );
        for case in Case::ALL {
            let Some((_, rounds)) = self.cases.iter().find(|(known, _)| *known == case) else {
                continue;
            };
            let cpu: Vec<f64> = rounds.iter().map(Figures::cpu_us_a_record).collect();
            let lowest = cpu.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = cpu.iter().copied().fold(0.0, f64::max);
            let rate = median(rounds.iter().map(Figures::records_a_second).collect());
            let memory = median(rounds.iter().map(Figures::peak_mb).collect());
            let _ = writeln!(
                text,
                "| {} | {:.2} | {lowest:.2} to {highest:.2} | {rate:.0} | {memory:.0} |",
                case.name(),
                median(cpu),
            );
        }
        text
    }

    /// One line for each goal whose two cases were measured.
    pub fn ratios(&self) -> String {
        let mut text = String::new();
        for (ours, other, limit) in GOALS {
            let cpu = |case| self.median_of(case, Figures::cpu_us_a_record);
            let (Some(mine), Some(theirs)) = (cpu(ours), cpu(other)) else {
                continue;
            };
            let ratio = mine / theirs;
            let verdict = if ratio <= limit { "reached" } else { "MISSED" };
            let _ = writeln!(
                text,
                "{} takes {ratio:.2} times the CPU of {}; goal at most {limit:.1}: {verdict}",
                ours.name(),
                other.name(),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(cpu_ns: u64) -> Figures {
        Figures {
            records: 1_000,
            cpu_ns,
            wall_ns: 1_000_000,
            peak_memory: 5_000_000,
        }
    }

    #[test]
    fn medians_and_extremes_are_shown() {
        let mut rounds = Rounds::default();
        for cpu in [1_000_000, 3_000_000, 2_000_000] {
            rounds.add(Case::Enqueue, figures(cpu));
        }
        assert!(
            rounds
                .markdown()
                .contains("| enqueue | 2.00 | 1.00 to 3.00 | 1000000 | 5 |"),
            "{}",
            rounds.markdown()
        );
    }

    #[test]
    fn a_goal_is_judged_only_with_both_sides() {
        let mut rounds = Rounds::default();
        rounds.add(Case::Enqueue, figures(1_600_000));
        assert_eq!(rounds.ratios(), "");
        rounds.add(Case::RskafkaProduce, figures(1_000_000));
        assert!(rounds.ratios().contains("1.60 times") && rounds.ratios().contains("MISSED"));
        rounds.add(Case::Group, figures(900_000));
        rounds.add(Case::RskafkaFetch, figures(1_000_000));
        assert!(rounds.ratios().contains("0.90 times") && rounds.ratios().contains("reached"));
    }
}
