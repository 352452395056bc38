//! Whether a topic of dead letters keeps them at least as long as their source keeps its records.

use std::collections::HashMap;

/// What decides it.
pub(super) const SETTINGS: [&str; 3] = [CLEANUP_POLICY, RETENTION_MS, RETENTION_BYTES];

const CLEANUP_POLICY: &str = "cleanup.policy";
const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";

/// Names and values.
type Settings = HashMap<String, String>;

/// What would delete dead letters by surprise, and what to do, a sentence for each. `pairs` are topics of dead
/// letters, each with its source; `settings` are by topic.
pub(super) fn surprises<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    settings: &HashMap<String, Settings>,
) -> Vec<String> {
    pairs
        .filter_map(|(letters, source)| {
            let (of_letters, of_source) = (settings.get(letters)?, settings.get(source)?);
            surprise(letters, of_letters, source, of_source)
        })
        .collect()
}

fn surprise(
    letters: &str,
    of_letters: &Settings,
    source: &str,
    of_source: &Settings,
) -> Option<String> {
    if policies(of_letters).any(|policy| policy == "compact") {
        return Some(format!(
            "{letters} is compacted: of several dead letters with one key only the last is kept; set its \
             {CLEANUP_POLICY} to delete"
        ));
    }
    [(RETENTION_MS, " ms"), (RETENTION_BYTES, " bytes")]
        .into_iter()
        .find_map(|(name, unit)| {
            let kept = limit(of_letters, name)??;
            // Without deletion a compacted topic keeps the last record of each key for ever.
            let by_time = policies(of_source).any(|policy| policy == "delete");
            let records = limit(of_source, name)?.filter(|_| by_time);
            if records.is_some_and(|records| records <= kept) {
                return None;
            }
            let shown = |limit: Option<i64>| {
                limit.map_or("unlimited".to_owned(), |limit| format!("{limit}{unit}"))
            };
            Some(format!(
                "{letters} may delete dead letters while {source} still has their records: its {name} is \
                 {}, the other's is {}; raise it",
                shown(Some(kept)),
                shown(records)
            ))
        })
}

fn policies(settings: &Settings) -> impl Iterator<Item = &str> {
    // Kafka's default.
    let policies = settings
        .get(CLEANUP_POLICY)
        .map_or("delete", |policy| policy);
    policies.split(',').map(str::trim)
}

/// `None`: not known. `Some(None)`: unlimited.
fn limit(settings: &Settings, name: &str) -> Option<Option<i64>> {
    let value: i64 = settings.get(name)?.parse().ok()?;
    Some((value >= 0).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(policy: &str, ms: &str, bytes: &str) -> Settings {
        SETTINGS
            .iter()
            .zip([policy, ms, bytes])
            .map(|(name, value)| ((*name).to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn letters_that_may_go_before_their_records_are_named() {
        let said = |letters: [&str; 3], source: [&str; 3]| {
            let of = |[policy, ms, bytes]: [&str; 3]| settings(policy, ms, bytes);
            let all = HashMap::from([
                ("t-dlt".to_owned(), of(letters)),
                ("t".to_owned(), of(source)),
            ]);
            surprises([("t-dlt", "t"), ("u-dlt", "u")].into_iter(), &all)
        };
        let fine: [[[&str; 3]; 2]; 4] = [
            [["delete", "-1", "-1"], ["delete", "-1", "-1"]],
            [["delete", "-1", "-1"], ["delete", "1000", "1000"]],
            [["delete", "1000", "-1"], ["delete", "1000", "-1"]],
            [["delete", "2000", "50"], ["delete", "1000", "50"]],
        ];
        for [letters, source] in fine {
            assert_eq!(said(letters, source), [""; 0], "{letters:?} {source:?}");
        }
        for (letters, source, part) in [
            (
                ["delete", "1000", "-1"],
                ["delete", "2000", "-1"],
                "is 1000 ms, the other's is 2000 ms",
            ),
            (
                ["delete", "1000", "-1"],
                ["delete", "-1", "-1"],
                "the other's is unlimited",
            ),
            (
                ["delete", "1000", "-1"],
                ["compact", "1000", "-1"],
                "the other's is unlimited",
            ),
            (
                ["delete", "-1", "50"],
                ["delete", "1000", "60"],
                "retention.bytes is 50 bytes",
            ),
            (
                ["compact,delete", "-1", "-1"],
                ["delete", "1000", "-1"],
                "t-dlt is compacted",
            ),
        ] {
            let said = said(letters, source);
            assert!(said.len() == 1 && said[0].contains(part), "{said:?}");
        }
    }
}
