//! Which of two topics with one name is the newer one.
//!
//! A topic that is deleted and created again has another id, and ids have no order. A broker that lags behind may still
//! name the topic that is gone; believed, it would make consumers start over, twice. But each broker goes forward: if one
//! that named the first id names the second, then the second is newer. So a change of id is believed from a broker that
//! named the id before it. From any other broker it is disputed, until one of those that named the known id is asked
//! ([`Verdict::Disputed`]). An id that is known to be replaced never comes back.
//!
//! Whoever named the known id may be gone: once the cluster no longer lists any such broker, the word of another one
//! counts; and so it does once each of them says that it does not know the topic. A broker that does not hear of the
//! controller is fenced, and so no longer listed, after `broker.session.timeout.ms` (9 s): a dispute does not last.
//!
//! The Java client believes the last answer of any broker (`Metadata.updateLatestMetadata`).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use crate::topic_id::TopicId;

/// Replaced topics of one name that are remembered; an older one counts as unknown.
const REPLACED: usize = 16;

/// What brokers have said of topics' ids. Pure.
#[derive(Debug, Default)]
pub(super) struct TopicIds {
    topics: HashMap<Arc<str>, Known>,
}

#[derive(Debug)]
struct Known {
    current: TopicId,
    /// The last word of each broker, by broker id.
    said: BTreeMap<i32, TopicId>,
    /// Topics that had the name before, the latest last.
    replaced: VecDeque<TopicId>,
}

/// What a broker's word on a topic's id is worth.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the topic's id.
    Current,
    /// It is that of a topic that was deleted.
    Replaced,
    /// It is another id than the known one, and not known to be newer: the next word of any of these brokers decides.
    Disputed(Vec<i32>),
}

impl TopicIds {
    /// Broker `from` says that `topic` has this id (`None`: it is not known which broker it is). `brokers` are those of
    /// the cluster.
    pub(super) fn hear(
        &mut self,
        topic: &Arc<str>,
        from: Option<i32>,
        id: TopicId,
        brokers: &BTreeSet<i32>,
    ) -> Verdict {
        let known = self.topics.entry(topic.clone()).or_insert_with(|| Known {
            current: id,
            said: BTreeMap::new(),
            replaced: VecDeque::new(),
        });
        known
            .said
            .retain(|broker, _| brokers.contains(broker) || from == Some(*broker));
        let before = from.and_then(|from| known.said.insert(from, id));
        if let Some(before) = before.filter(|before| *before != id) {
            known.replace(before);
            if before == known.current {
                // Even back to one that it named before: then its disk was restored.
                known.replaced.retain(|replaced| *replaced != id);
                known.current = id;
            }
        }
        if id == known.current {
            return Verdict::Current;
        }
        if known.replaced.contains(&id) {
            return Verdict::Replaced;
        }
        let named = known.said.iter();
        let witnesses: Vec<i32> = named
            .filter(|(_, said)| **said == known.current)
            .map(|(broker, _)| *broker)
            .collect();
        match (witnesses.is_empty(), from) {
            (false, _) => Verdict::Disputed(witnesses),
            // Those who named the known id are gone.
            (true, Some(_)) => {
                known.current = id;
                Verdict::Current
            }
            (true, None) => Verdict::Disputed(brokers.iter().copied().collect()),
        }
    }

    /// A broker that was asked does not know the topic: what it named before is gone there, and it is no longer a witness
    /// of that.
    pub(super) fn forget(&mut self, topic: &str, from: Option<i32>) {
        if let (Some(known), Some(from)) = (self.topics.get_mut(topic), from) {
            known.said.remove(&from);
        }
    }

    /// None of the brokers that the last verdict named has named an id: they cannot be asked, or do not know the topic.
    /// If nobody is left who named the known id, this one is believed.
    pub(super) fn concede(&mut self, topic: &str, id: TopicId) {
        if let Some(known) = self.topics.get_mut(topic)
            && !known.replaced.contains(&id)
            && !known.said.values().any(|said| *said == known.current)
        {
            known.current = id;
        }
    }

    /// The topic's id, as far as it was heard of.
    pub(super) fn current(&self, topic: &str) -> Option<TopicId> {
        Some(self.topics.get(topic)?.current)
    }

    /// Whether the last word of a broker is another id than [`TopicIds::current`] that is not known to be older.
    pub(super) fn is_disputed(&self, topic: &str) -> bool {
        self.topics.get(topic).is_some_and(|known| {
            let mut said = known.said.values();
            said.any(|id| *id != known.current && !known.replaced.contains(id))
        })
    }
}

impl Known {
    /// A broker that named this id names another one now.
    fn replace(&mut self, id: TopicId) {
        if !self.replaced.contains(&id) {
            if self.replaced.len() == REPLACED {
                self.replaced.pop_front();
            }
            self.replaced.push_back(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> TopicId {
        TopicId::from_u128(number).unwrap()
    }

    /// Words of brokers of a cluster of three.
    struct Ear {
        ids: TopicIds,
        brokers: BTreeSet<i32>,
    }

    impl Ear {
        fn new() -> Self {
            Self {
                ids: TopicIds::default(),
                brokers: BTreeSet::from([1, 2, 3]),
            }
        }

        fn hear(&mut self, from: impl Into<Option<i32>>, number: u128) -> Verdict {
            let topic = "t".into();
            self.ids
                .hear(&topic, from.into(), id(number), &self.brokers)
        }

        fn current(&self) -> TopicId {
            self.ids.current("t").unwrap()
        }
    }

    #[test]
    fn a_broker_that_goes_from_one_id_to_another_is_believed() {
        let mut ear = Ear::new();
        assert_eq!(ear.hear(1, 7), Verdict::Current);
        assert_eq!(ear.hear(1, 8), Verdict::Current);
        assert_eq!(ear.current(), id(8));
    }

    #[test]
    fn a_stale_broker_does_not_bring_a_replaced_topic_back() {
        let mut ear = Ear::new();
        ear.hear(1, 7);
        ear.hear(1, 8);
        assert_eq!(ear.hear(2, 7), Verdict::Replaced);
        assert_eq!(ear.hear(None, 7), Verdict::Replaced);
        // It catches up.
        assert_eq!(ear.hear(2, 8), Verdict::Current);
        assert_eq!(ear.current(), id(8));
    }

    #[test]
    fn a_stale_broker_is_not_believed_by_a_client_that_never_saw_the_old_topic() {
        let mut ear = Ear::new();
        ear.hear(1, 8);
        assert_eq!(ear.hear(2, 7), Verdict::Disputed(vec![1]));
        assert!(ear.ids.is_disputed("t"));
        // The one that named it is asked, and stays with it.
        assert_eq!(ear.hear(1, 8), Verdict::Current);
        assert!(ear.ids.is_disputed("t"), "either may be the one that lags");
        // The other one catches up.
        assert_eq!(ear.hear(2, 8), Verdict::Current);
        assert_eq!(ear.current(), id(8));
        assert!(!ear.ids.is_disputed("t"));
        // Now it is known which one was before.
        assert_eq!(ear.hear(3, 7), Verdict::Replaced);
    }

    #[test]
    fn another_brokers_word_is_believed_once_one_that_named_the_old_id_confirms_it() {
        let mut ear = Ear::new();
        ear.hear(1, 7);
        ear.hear(3, 7);
        assert_eq!(ear.hear(2, 8), Verdict::Disputed(vec![1, 3]));
        assert_eq!(ear.current(), id(7));
        assert_eq!(ear.hear(3, 8), Verdict::Current);
        assert_eq!(ear.current(), id(8));
        assert_eq!(ear.hear(1, 7), Verdict::Replaced);
    }

    #[test]
    fn the_word_of_a_broker_that_is_gone_does_not_count_for_ever() {
        let mut ear = Ear::new();
        ear.hear(1, 7);
        ear.brokers.remove(&1);
        assert_eq!(ear.hear(2, 8), Verdict::Current);
        assert_eq!(ear.current(), id(8));
        // That was a guess: if the others say otherwise, and the one that it rests on agrees, it is taken back.
        assert_eq!(ear.hear(3, 7), Verdict::Disputed(vec![2]));
        assert_eq!(ear.hear(2, 7), Verdict::Current);
        assert_eq!(ear.current(), id(7));
    }

    #[test]
    fn a_broker_that_no_longer_knows_the_topic_is_no_witness() {
        let mut ear = Ear::new();
        ear.hear(1, 7);
        ear.ids.forget("t", None);
        assert_eq!(ear.hear(2, 8), Verdict::Disputed(vec![1]));
        ear.ids.forget("t", Some(1));
        ear.ids.concede("t", id(8));
        assert_eq!(ear.current(), id(8));
        assert_eq!(ear.hear(1, 8), Verdict::Current);
        assert!(!ear.ids.is_disputed("t"));
    }

    #[test]
    fn a_broker_that_lags_two_topics_behind_proves_nothing_about_the_third() {
        let mut ear = Ear::new();
        ear.hear(1, 7);
        ear.hear(2, 7);
        ear.hear(1, 9);
        // It goes from the first to the second; the third is newer.
        assert_eq!(ear.hear(2, 8), Verdict::Disputed(vec![1]));
        assert_eq!(ear.hear(1, 9), Verdict::Current);
        assert_eq!(ear.hear(2, 9), Verdict::Current);
    }

    #[test]
    fn who_has_no_name_is_believed_where_nobody_else_can_be_asked() {
        let mut ear = Ear::new();
        assert_eq!(ear.hear(None, 7), Verdict::Current);
        assert_eq!(ear.hear(None, 8), Verdict::Disputed(vec![1, 2, 3]));
        ear.ids.concede("t", id(8));
        assert_eq!(ear.current(), id(8));
        // But not against one that has.
        ear.hear(1, 8);
        assert_eq!(ear.hear(None, 9), Verdict::Disputed(vec![1]));
        ear.ids.concede("t", id(9));
        assert_eq!(ear.current(), id(8));
    }

    #[test]
    fn a_broker_whose_disk_was_restored_is_believed() {
        let mut ear = Ear::new();
        for number in [7, 8, 7] {
            assert_eq!(ear.hear(1, number), Verdict::Current);
        }
        assert_eq!(ear.current(), id(7));
        assert_eq!(ear.hear(2, 8), Verdict::Replaced);
    }

    #[test]
    fn what_is_remembered_of_a_name_is_bounded() {
        let mut ear = Ear::new();
        for number in 1..100 {
            assert_eq!(ear.hear(1, number), Verdict::Current);
        }
        assert_eq!(ear.ids.topics["t"].replaced.len(), REPLACED);
    }
}
