//! What the alert rules and the dashboard ask Prometheus for.

use std::collections::BTreeSet;

/// The metrics and labels that a PromQL expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub metrics: BTreeSet<String>,
    pub labels: BTreeSet<String>,
}

/// Reads as much of PromQL as these files use.
pub fn named(expression: &str) -> Named {
    let mut named = Named::default();
    let mut rest = expression;
    // Of `{…}` or `by (…)`, where names are labels; of `[…]`, where there are none.
    let (mut braces, mut grouping, mut range) = (false, false, false);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => rest[1..].find('"').expect("a string ends") + 2,
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        rest = after;
        match first {
            '{' | '}' => braces = first == '{',
            '[' | ']' => range = first == '[',
            ')' => grouping = false,
            'a'..='z' | 'A'..='Z' | '_' if !range => {
                let called = after.trim_start().starts_with('(');
                match word {
                    "by" | "without" | "on" | "ignoring" if called => grouping = true,
                    "and" | "or" | "unless" => {}
                    _ if braces || grouping => {
                        named.labels.insert(word.to_owned());
                    }
                    // A function, or an aggregation: `sum by (job) (…)`.
                    _ if called || grouped(after) => {}
                    _ => {
                        named.metrics.insert(word.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    named
}

fn grouped(after: &str) -> bool {
    let next = after.trim_start();
    next.starts_with("by ") || next.starts_with("without ")
}

/// The expressions of a file of alert rules.
pub fn of_rules(yaml: &str) -> Vec<String> {
    let rules = yaml.split("expr:").skip(1);
    rules
        .map(|rule| {
            let lines = rule.lines();
            let expression: Vec<&str> = lines
                .take_while(|line| {
                    !matches!(line.trim(), "labels:") && !line.trim().starts_with("for:")
                })
                .map(|line| line.trim().trim_start_matches('>'))
                .collect();
            expression.join(" ")
        })
        .collect()
}

/// The expressions of a dashboard, wherever they are in it.
pub fn of_dashboard(json: &serde_json::Value) -> Vec<String> {
    match json {
        serde_json::Value::Array(items) => items.iter().flat_map(of_dashboard).collect(),
        serde_json::Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| match value.as_str() {
                Some(expression) if name == "expr" => vec![expression.to_owned()],
                _ => of_dashboard(value),
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn names_are_told_from_functions_keywords_and_values() {
    let found = named(
        r#"sum by (le, job) (rate(a_count{code=~"5..|up",x!="y"}[5m])) / b > 0.01 and absent(c)"#,
    );
    assert_eq!(Vec::from_iter(found.metrics), ["a_count", "b", "c"]);
    assert_eq!(Vec::from_iter(found.labels), ["code", "job", "le", "x"]);
}
