use std::collections::HashMap;

use kafka::{OutgoingRecord, ProduceError, Producer, RecordMetadata, TopicId};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::lease::Hold;
use super::relay::{Announce, RelayError};

/// A row that is not published yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) id: i64,
    pub(super) topic: String,
    pub(super) key: String,
    pub(super) headers: String,
    pub(super) body: String,
}

/// Where Kafka has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) id: i64,
    pub(super) topic_id: Option<TopicId>,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// The events of each key, in their order.
pub(super) fn lines(waiting: Vec<Waiting>) -> Vec<Vec<Waiting>> {
    let mut lines: Vec<Vec<Waiting>> = Vec::new();
    let mut line_of: HashMap<(String, String), usize> = HashMap::new();
    for event in waiting {
        let key = (event.topic.clone(), event.key.clone());
        let line = *line_of.entry(key).or_insert(lines.len());
        match lines.get_mut(line) {
            Some(line) => line.push(event),
            None => lines.push(vec![event]),
        }
    }
    lines
}

/// Sends events of one key, each after the acknowledgement of the one before.
pub(super) struct LineSender<'a, A> {
    pub(super) producer: &'a Producer,
    pub(super) announce: &'a A,
    pub(super) unmarked: &'a Mutex<Vec<Sent>>,
    /// Cancelled: nothing more is sent.
    pub(super) halt: &'a CancellationToken,
    pub(super) hold: &'a Hold,
}

impl<A: Announce> LineSender<'_, A> {
    /// The first failure ends the line. So does the end of the lease, without an error of its own: it is
    /// looked at before each event, since a process that was stopped past its term wakes up here as well
    /// as anywhere else.
    pub(super) async fn send_all(&self, line: Vec<Waiting>) -> Result<(), Option<RelayError>> {
        for event in line {
            if self.halt.is_cancelled() || !self.hold.is_held() {
                return Err(None);
            }
            self.announce.sending(&event.topic, &event.body);
            match send(self.producer, &event).await {
                Ok(place) => {
                    self.announce.sent(&event.topic, &event.body);
                    self.unmarked.lock().push(Sent {
                        id: event.id,
                        topic_id: self.producer.topic_id(&event.topic),
                        partition: place.partition,
                        offset: place.offset,
                    });
                }
                Err(error) => {
                    self.announce.failed(&error);
                    let failure = RelayError::Kafka {
                        id: event.id,
                        topic: event.topic.clone(),
                        error,
                    };
                    return Err(Some(failure));
                }
            }
        }
        Ok(())
    }
}

async fn send(producer: &Producer, event: &Waiting) -> Result<RecordMetadata, ProduceError> {
    // Written by `append`.
    let headers: Vec<(String, Option<String>)> =
        serde_json::from_str(&event.headers).unwrap_or_default();
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_deref().map(str::as_bytes)))
        .collect();
    producer
        .send(&OutgoingRecord {
            topic: &event.topic,
            partition: None,
            key: Some(event.key.as_bytes()),
            value: Some(event.body.as_bytes()),
            headers: &headers,
            timestamp: None,
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_line_and_keeps_its_order() {
        let event = |id, topic: &str, key: &str| Waiting {
            id,
            topic: topic.into(),
            key: key.into(),
            headers: String::new(),
            body: String::new(),
        };
        let lines = lines(vec![
            event(1, "t", "a"),
            event(2, "t", "b"),
            event(3, "u", "a"),
            event(4, "t", "a"),
        ]);
        let ids: Vec<Vec<i64>> = lines
            .iter()
            .map(|line| line.iter().map(|event| event.id).collect())
            .collect();
        assert_eq!(ids, [vec![1, 4], vec![2], vec![3]]);
    }
}
