use std::fmt;
use std::ops::Deref;

use kafka::DeadLetters;

use super::value::Value;

/// A topic's name as Kafka allows it (`org.apache.kafka.common.internals.Topic`): 1 to 249 of
/// letters, digits, `.`, `_` and `-`, other than `.` and `..`.
///
/// Shorter by the length of `-dlt`, so that the name of its dead letters is one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicName(String);

const MAX: usize = 249 - DeadLetters::SUFFIX.len();

impl Value for TopicName {
    fn parse(text: &str) -> Result<Self, String> {
        let fine = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if text.is_empty()
            || text.len() > MAX
            || [".", ".."].contains(&text)
            || !text.chars().all(fine)
        {
            return Err(format!(
                "must be a topic name: 1 to {MAX} letters, digits, dots, underscores and dashes"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TopicName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for TopicName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_kafka_takes() {
        for good in ["order_topic", "users.events", "a-b"] {
            assert!(TopicName::parse(good).is_ok(), "{good}");
        }
        let long = "x".repeat(246);
        for wrong in ["", ".", "..", "a b", "заказы", "a/b", &long] {
            assert!(TopicName::parse(wrong).is_err(), "{wrong}");
        }
    }
}
