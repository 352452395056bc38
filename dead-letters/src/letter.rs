//! A record on a `<topic>-dlt` topic: a dead letter, or the claim or marker of a letter's replay.

use std::borrow::Cow;

use bytes::Bytes;
use kafka::{ConsumerRecord, Headers, TopicId};
use proto::dead_letter::{
    ATTEMPTS, CONSUMER_GROUP, LAST_OFFSET, OMITTED, ORIGINAL_OFFSET, ORIGINAL_PARTITION,
    ORIGINAL_TIMESTAMP, ORIGINAL_TOPIC, ORIGINAL_TOPIC_ID, Place, REASON, REPLAY_OF, REPLAYED_TO,
    TIME,
};
use proto::headers::CE_ID;
use proto::{ReceivedHeaders, Rfc3339, identity};

use crate::claim::Claim;
use crate::spring::{self, SpringLetter};

/// What a record on a dead-letter topic is.
#[derive(Debug)]
pub enum Entry {
    Letter(Box<Letter>),
    Claim(Claim),
    Marker(Marker),
    /// None of these: somebody else wrote it.
    Unknown(Place),
}

/// A record that a group could not handle.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Where the letter lies.
    pub place: Place,
    /// Where the record lay.
    pub source: Place,
    pub group: String,
    pub reason: String,
    pub attempts: String,
    /// When it failed, RFC 3339.
    pub time: String,
    /// When the record was written first, in milliseconds since 1970; -1 if it has no time.
    pub original_timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Headers,
}

/// Says that a letter has been replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    pub replay_of: Place,
    pub replayed_to: Place,
}

/// Header names and values that own their bytes.
pub type OwnedHeaders = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Entry {
    pub fn of(record: ConsumerRecord) -> Self {
        let place = Place {
            topic: record.topic.to_string(),
            partition: record.partition,
            offset: record.offset,
        };
        if record.headers.get(ORIGINAL_TOPIC).is_none()
            && let Some(letter) = SpringLetter::read(&record.headers)
        {
            return Entry::Letter(Box::new(Letter {
                place,
                source: letter.source,
                group: letter.group,
                reason: letter.reason,
                attempts: "unknown".to_owned(),
                time: Rfc3339::from_millis(record.timestamp).to_string(),
                original_timestamp: letter.original_timestamp,
                key: record.key,
                value: record.value,
                headers: record.headers,
            }));
        }
        let time = record.timestamp;
        Self::read(place, time, record.key, record.value, record.headers)
    }

    /// `time` is the entry's own.
    fn read(
        place: Place,
        time: i64,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: Headers,
    ) -> Self {
        if headers.get(ORIGINAL_TOPIC).is_none() {
            let marked = |name| headers.get_str(name).and_then(Place::parse);
            if let (Some(replay_of), Some(replayed_to)) = (marked(REPLAY_OF), marked(REPLAYED_TO)) {
                return Entry::Marker(Marker {
                    replay_of,
                    replayed_to,
                });
            }
            return match Claim::read(&headers) {
                // Elsewhere it would not stand in line with the letter's other claims.
                Some(claim) if claim.replay_of.shares_partition_with(&place) => Entry::Claim(claim),
                _ => Entry::Unknown(place),
            };
        }
        let text = |name| {
            headers
                .get(name)
                .map(|value| String::from_utf8_lossy(value).into_owned())
                .unwrap_or_default()
        };
        let source = Place::parse(&format!(
            "{}/{}/{}",
            text(ORIGINAL_TOPIC),
            text(ORIGINAL_PARTITION),
            text(ORIGINAL_OFFSET)
        ));
        let Some(source) = source else {
            return Entry::Unknown(place);
        };
        // The letters of earlier versions have their record's time as their own.
        let original = text(ORIGINAL_TIMESTAMP).parse().unwrap_or(time);
        Entry::Letter(Box::new(Letter {
            place,
            source,
            original_timestamp: original,
            group: text(CONSUMER_GROUP),
            reason: text(REASON),
            attempts: text(ATTEMPTS),
            time: text(TIME),
            key,
            value,
            headers,
        }))
    }
}

impl Letter {
    /// The headers of its replay: those that the record had, its time, the group that failed, and where
    /// the letter lies. A replay is a record of now: with the time of the record that it repeats, its topic
    /// might refuse it, or delete it at once. A record that was known by its place alone gets that as its `ce_id`, so that it
    /// stays the same event at its new place.
    pub fn replay_headers(&self) -> OwnedHeaders {
        let ours = |name: &[u8]| {
            [
                ORIGINAL_TOPIC,
                ORIGINAL_TOPIC_ID,
                ORIGINAL_PARTITION,
                ORIGINAL_OFFSET,
                ORIGINAL_TIMESTAMP,
                CONSUMER_GROUP,
                REASON,
                ATTEMPTS,
                TIME,
                OMITTED,
                REPLAY_OF,
            ]
            .iter()
            .any(|known| known.as_bytes() == name)
                || spring::is_of_letter(name)
        };
        let mut headers: OwnedHeaders = self
            .headers
            .iter()
            .filter(|(name, _)| !ours(name))
            .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
            .collect();
        let mut add = |name: &str, value: String| {
            headers.push((name.as_bytes().to_vec(), Some(value.into_bytes())));
        };
        let value = self.value.as_deref().unwrap_or_default();
        let is_known_by_its_value = || identity::is_in_value(value, self.event_type());
        if self.headers.get(CE_ID).is_none() && !is_known_by_its_value() {
            let Place {
                topic,
                partition,
                offset,
            } = &self.source;
            add(CE_ID, identity::of_place(topic, *partition, *offset));
        }
        add(ORIGINAL_TIMESTAMP, self.original_timestamp.to_string());
        // Without it every group acts on the replay, as nobody knows which one failed.
        if !self.group.is_empty() {
            add(CONSUMER_GROUP, self.group.clone());
        }
        add(REPLAY_OF, self.place.to_string());
        headers
    }

    /// When the record was written first, RFC 3339; `None` if it has no time.
    pub fn original_time(&self) -> Option<String> {
        let time = self.original_timestamp;
        (time >= 0).then(|| Rfc3339::from_millis(time).to_string())
    }

    /// The id of the topic that the record lay in; `None` where the letter does not say it. Another topic of that
    /// name has another record at [`Letter::source`].
    pub fn source_id(&self) -> Option<TopicId> {
        self.headers.get_str(ORIGINAL_TOPIC_ID)?.parse().ok()
    }

    fn event_type(&self) -> Option<&str> {
        ReceivedHeaders::read(|name| self.headers.get(name)).event_type
    }

    /// What of the record is not in the letter, which would have been too large: it lies at the
    /// source alone.
    pub fn omitted(&self) -> Option<&str> {
        self.headers.get_str(OMITTED)
    }

    /// The last offset that was passed over on an operator's word, where it is a letter of that: nobody could
    /// read what lies from its source to there, so that there is no record to replay.
    pub fn passed_over(&self) -> Option<i64> {
        self.headers.get_str(LAST_OFFSET)?.parse().ok()
    }

    /// The letter with what it had to leave out, from the record that it is of.
    pub fn completed(self, record: ConsumerRecord) -> Self {
        Self {
            key: record.key,
            value: record.value,
            headers: record.headers,
            ..self
        }
    }

    /// The body for a person: text as it is (shortened to `limit` characters), bytes escaped.
    pub fn body(&self, limit: Option<usize>) -> String {
        match &self.value {
            _ if self.passed_over().is_some() => "(passed over: nobody could read it)".to_owned(),
            _ if self.omitted().is_some() => {
                format!("(too large for a letter; see {})", self.source)
            }
            None => "(null)".to_owned(),
            Some(value) => shown(value, limit),
        }
    }
}

impl Marker {
    pub fn headers(&self) -> OwnedHeaders {
        [
            (REPLAY_OF, self.replay_of.to_string()),
            (REPLAYED_TO, self.replayed_to.to_string()),
            (TIME, Rfc3339::now().to_string()),
        ]
        .map(|(name, value)| (name.as_bytes().to_vec(), Some(value.into_bytes())))
        .into()
    }
}

/// `bytes` on one line, safe for a terminal: control characters and what is not UTF-8 are escaped.
pub fn shown(bytes: &[u8], limit: Option<usize>) -> String {
    let mut out = String::new();
    let mut shown = 0;
    for chunk in bytes.utf8_chunks() {
        let escaped = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        let valid = chunk.valid().chars().map(|c| match c {
            '\\' => Cow::Borrowed("\\"),
            c if c.is_control() => Cow::Owned(c.escape_default().to_string()),
            c => Cow::Owned(c.to_string()),
        });
        for piece in valid.chain(escaped.map(Cow::Owned)) {
            if limit.is_some_and(|limit| shown == limit) {
                out.push('…');
                return out;
            }
            out.push_str(&piece);
            shown += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use kafka::ProducerId;

    use super::*;

    fn place(topic: &str, partition: i32, offset: i64) -> Place {
        Place {
            topic: topic.into(),
            partition,
            offset,
        }
    }

    fn letter(value: &[u8], headers: &[(&str, Option<&str>)]) -> Letter {
        let dead = [
            (ORIGINAL_TOPIC, Some("orders")),
            (ORIGINAL_PARTITION, Some("2")),
            (ORIGINAL_OFFSET, Some("17")),
            (CONSUMER_GROUP, Some("order-processing")),
            (REASON, Some("quantity is missing")),
            (ATTEMPTS, Some("1")),
            (TIME, Some("2026-01-02T03:04:05.678Z")),
        ];
        let headers = Headers::from_pairs(
            headers
                .iter()
                .chain(&dead)
                .map(|(name, value)| (name.as_bytes(), value.map(str::as_bytes))),
        );
        let value = Some(Bytes::copy_from_slice(value));
        match Entry::read(place("orders-dlt", 2, 5), 1_000, None, value, headers) {
            Entry::Letter(letter) => *letter,
            other => panic!("{other:?}"),
        }
    }

    fn text(headers: OwnedHeaders) -> Vec<String> {
        headers
            .into_iter()
            .map(|(name, value)| {
                let value =
                    value.map_or("(null)".into(), |value| String::from_utf8(value).unwrap());
                format!("{}={value}", String::from_utf8(name).unwrap())
            })
            .collect()
    }

    #[test]
    fn a_letter_says_where_it_came_from_and_why() {
        let letter = letter(b"{}", &[]);
        assert_eq!(letter.source, place("orders", 2, 17));
        assert_eq!(letter.group, "order-processing");
        assert_eq!(letter.reason, "quantity is missing");
        assert_eq!(letter.attempts, "1");
        assert_eq!(letter.time, "2026-01-02T03:04:05.678Z");
    }

    #[test]
    fn a_letter_says_when_its_record_was_written() {
        let original = |time| letter(b"{}", &[(ORIGINAL_TIMESTAMP, time)]).original_time();
        let written = original(Some("1767323045678"));
        assert_eq!(written.as_deref(), Some("2026-01-02T03:04:05.678Z"));
        assert_eq!(original(Some("-1")), None);
        // Those of earlier versions have that time as their own.
        let own = letter(b"{}", &[]).original_time();
        assert_eq!(own.as_deref(), Some("1970-01-01T00:00:01.000Z"));
    }

    #[test]
    fn a_letter_of_spring_is_a_letter_and_its_replay_has_the_records_headers() {
        let headers: [(&[u8], &[u8]); 9] = [
            (b"x", b"1"),
            (b"kafka_dlt-original-topic", b"orders"),
            (b"kafka_dlt-original-partition", &2_i32.to_be_bytes()),
            (b"kafka_dlt-original-offset", &17_i64.to_be_bytes()),
            (b"kafka_dlt-original-timestamp", &1_i64.to_be_bytes()),
            (b"kafka_dlt-original-consumer-group", b"order-processing"),
            (
                b"kafka_dlt-exception-fqcn",
                b"java.lang.IllegalStateException",
            ),
            (b"kafka_dlt-exception-stacktrace", b"at com.example"),
            (b"springDeserializerExceptionValue", b"\xac\xed"),
        ];
        let spring = |headers: &[(&[u8], &[u8])]| {
            let pairs = headers.iter().map(|(name, value)| (*name, Some(*value)));
            let record = ConsumerRecord {
                topic: "orders-dlt".into(),
                topic_id: None,
                partition: 2,
                offset: 5,
                timestamp: 1_767_323_045_678,
                leader_epoch: -1,
                key: Some(Bytes::from_static(b"7")),
                value: Some(Bytes::from_static(br#"{"orderId":"7"}"#)),
                headers: Headers::from_pairs(pairs),
                attempt: 1,
            };
            match Entry::of(record) {
                Entry::Letter(letter) => letter,
                other => panic!("{other:?}"),
            }
        };
        let letter = spring(&headers);
        assert_eq!(letter.source, place("orders", 2, 17));
        assert_eq!(letter.group, "order-processing");
        assert_eq!(letter.reason, "java.lang.IllegalStateException");
        assert_eq!(letter.time, "2026-01-02T03:04:05.678Z");
        assert_eq!(
            text(letter.replay_headers()),
            [
                "x=1",
                "dlt-original-timestamp=1",
                "dlt-consumer-group=order-processing",
                "dlt-replay-of=orders-dlt/2/5",
            ]
        );
        // One that does not say which group failed is for all of them.
        let letter = spring(&headers[..4]);
        assert_eq!(
            text(letter.replay_headers()),
            [
                "x=1",
                "dlt-original-timestamp=-1",
                "dlt-replay-of=orders-dlt/2/5",
            ]
        );
    }

    #[test]
    fn a_letter_of_what_was_passed_over_has_no_record() {
        assert_eq!(letter(b"{}", &[]).passed_over(), None);
        let skip = letter(b"", &[(LAST_OFFSET, Some("19"))]);
        assert_eq!(skip.passed_over(), Some(19));
        assert_eq!(skip.body(None), "(passed over: nobody could read it)");
    }

    #[test]
    fn a_replay_has_the_headers_that_the_record_had() {
        let letter = letter(
            b"{}",
            &[
                ("ce_id", Some("e-1")),
                ("x", None),
                ("x", Some("2")),
                (ORIGINAL_TIMESTAMP, Some("7000")),
                (REPLAY_OF, Some("orders-dlt/0/1")),
            ],
        );
        assert_eq!(
            text(letter.replay_headers()),
            [
                "ce_id=e-1",
                "x=(null)",
                "x=2",
                "dlt-original-timestamp=7000",
                "dlt-consumer-group=order-processing",
                "dlt-replay-of=orders-dlt/2/5",
            ]
        );
    }

    #[test]
    fn a_record_known_by_its_place_keeps_that_identity() {
        let kept = [
            // Of an earlier version, which left the record's time to the letter.
            "dlt-original-timestamp=1000",
            "dlt-consumer-group=order-processing",
            "dlt-replay-of=orders-dlt/2/5",
        ];
        assert_eq!(
            text(letter(b"not ours", &[]).replay_headers()),
            ["ce_id=orders/2/17", kept[0], kept[1], kept[2]]
        );
        // A cart's event has no id of its own.
        let cart = br#"{"type":"CartCreated","userId":1}"#;
        assert_eq!(
            text(letter(cart, &[]).replay_headers()),
            ["ce_id=orders/2/17", kept[0], kept[1], kept[2]]
        );
    }

    #[test]
    fn a_record_known_by_its_value_gets_no_other_identity() {
        let kept = [
            // Of an earlier version, which left the record's time to the letter.
            "dlt-original-timestamp=1000",
            "dlt-consumer-group=order-processing",
            "dlt-replay-of=orders-dlt/2/5",
        ];
        for value in [
            r#"{"order_id":"1","item":"x","quantity":1}"#,
            r#"{"orderId":"1","status":"CREATED"}"#,
            r#"{"order_id":"1","status":"CONFIRMED"}"#,
            r#"{"type":"UserCreated","userId":1}"#,
            r#"{"eventId":"e-1","bookId":3,"userId":"7"}"#,
            // No rating: that may be why it is a letter.
            r#"{"eventId":"e-1","bookId":3,"rating":"five"}"#,
        ] {
            let headers = letter(value.as_bytes(), &[]).replay_headers();
            assert_eq!(text(headers), kept, "{value}");
        }
        let user = letter(br#"{"userId":1}"#, &[("ce_type", Some("UserCreated"))]);
        assert_eq!(
            text(user.replay_headers()),
            ["ce_type=UserCreated", kept[0], kept[1], kept[2]]
        );
    }

    fn entry(offset: i64, headers: OwnedHeaders) -> Entry {
        let headers = Headers::from_pairs(
            headers
                .iter()
                .map(|(name, value)| (name.as_slice(), value.as_deref())),
        );
        Entry::read(place("orders-dlt", 2, offset), 0, None, None, headers)
    }

    #[test]
    fn claims_count_in_their_letters_partition_alone() {
        let claim = |partition| Claim {
            replay_of: place("orders-dlt", partition, 5),
            producer: ProducerId::parse("17/0").unwrap(),
            partition: 1,
            from: Some(40),
        };
        let of_an_earlier_version = Claim {
            from: None,
            ..claim(2)
        };
        for claim in [claim(2), of_an_earlier_version] {
            match entry(6, claim.headers()) {
                Entry::Claim(read) => assert_eq!(read, claim),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(entry(6, claim(1).headers()), Entry::Unknown(_)));
    }

    #[test]
    fn markers_are_told_from_letters() {
        let marker = Marker {
            replay_of: place("orders-dlt", 2, 5),
            replayed_to: place("orders", 2, 99),
        };
        match entry(6, marker.headers()) {
            Entry::Marker(read) => assert_eq!(read, marker),
            other => panic!("{other:?}"),
        }
        assert!(matches!(entry(6, Vec::new()), Entry::Unknown(_)));
        // A letter whose record was itself a replay is a letter.
        letter(
            b"{}",
            &[
                (REPLAY_OF, Some("orders-dlt/0/1")),
                (REPLAYED_TO, Some("orders/0/1")),
            ],
        );
    }

    #[test]
    fn bodies_are_safe_for_a_terminal() {
        assert_eq!(
            shown("ё\n\x1b[31m\"\\".as_bytes(), None),
            "ё\\n\\u{1b}[31m\"\\"
        );
        assert_eq!(shown(b"a\xff\x00", None), "a\\xff\\u{0}");
        assert_eq!(shown("ёжик".as_bytes(), Some(2)), "ёж…");
        assert_eq!(shown("ёж".as_bytes(), Some(2)), "ёж");
    }
}
