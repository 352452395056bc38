//! Takes what brokers answer into the picture of the cluster, except for topics that are older than the known ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::stream::{FuturesUnordered, StreamExt as _};

use super::topic_ids::Verdict;
use super::{Cluster, ClusterView, Purpose, metadata_request};
use crate::{error::Error, topic_id::TopicId};

/// By topic: an id that is disputed, and the brokers whose word decides.
type Disputed = BTreeMap<Arc<str>, (TopicId, Vec<i32>)>;

/// A broker's answer to the question for some topics.
pub(super) struct Answer<'a> {
    /// Who gave it; `None` = not known, since a bootstrap address may lead to any broker.
    pub(super) from: Option<i32>,
    pub(super) asked: &'a [Arc<str>],
    pub(super) seen: ClusterView,
}

impl Cluster {
    /// What broker `node` itself knows of `names`, asked for now and taken into the picture. A leader knows the topics
    /// that it leads, while other brokers may not have heard of them yet.
    ///
    /// # Errors
    /// The broker is not known, or did not answer.
    pub(crate) async fn refresh_from(
        self: &Arc<Self>,
        node: i32,
        names: &[Arc<str>],
    ) -> Result<ClusterView, Error> {
        let seen = self.ask(node, names).await?;
        let answer = Answer {
            from: Some(node),
            asked: names,
            seen: seen.clone(),
        };
        if !self.learn(answer, Others::Stay).await {
            // It goes on until brokers agree.
            self.request_refresh();
        }
        Ok(seen)
    }

    /// Whether brokers name different ids of the topic, and it is not settled which one is the newer.
    pub(crate) fn is_disputed(&self, topic: &str) -> bool {
        self.topic_ids.lock().is_disputed(topic)
    }

    /// Takes an answer into the picture. Of a topic with an id that is not known to be the newer one, what is known
    /// stays. False: brokers name different ids, and asking again may settle which one is the newer.
    pub(super) async fn learn(self: &Arc<Self>, answer: Answer<'_>, others: Others) -> bool {
        let disputed = self.hear(&answer);
        if !disputed.is_empty() {
            // Brokers, and topics that nobody disputes, do not wait for a witness that may be silent.
            self.take_in(answer.seen.clone(), others);
            self.ask_witnesses(disputed).await;
        }
        self.take_in(answer.seen, others)
    }

    /// Replaces the picture by a newer one, as far as ids are settled; whether they all are.
    fn take_in(&self, mut newer: ClusterView, others: Others) -> bool {
        let mut settled = true;
        self.view.send_if_modified(|view| {
            let topic_ids = self.topic_ids.lock();
            newer.topics.retain(|name, topic| {
                settled &= !topic_ids.is_disputed(name);
                let is_current = topic.id.is_none() || topic.id == topic_ids.current(name);
                match view.topics.get(name) {
                    _ if is_current => true,
                    Some(known) => {
                        *topic = known.clone();
                        true
                    }
                    // Whoever needs it asks again.
                    None => false,
                }
            });
            if let Others::Stay = others {
                for (name, known) in &view.topics {
                    let topics = &mut newer.topics;
                    topics.entry(name.clone()).or_insert_with(|| known.clone());
                }
            }
            let merged = view.merged(newer);
            let differs = merged.differs(view);
            if differs {
                *view = Arc::new(merged);
            }
            differs
        });
        settled
    }

    /// Notes what a broker says of the topics' ids. Returns those that are disputed.
    fn hear(&self, answer: &Answer<'_>) -> Disputed {
        let view = self.view();
        let brokers = view.brokers.keys().chain(answer.seen.brokers.keys());
        let brokers: BTreeSet<i32> = brokers.copied().collect();
        let mut topic_ids = self.topic_ids.lock();
        for name in answer.asked {
            if !answer.seen.topics.contains_key(name) {
                topic_ids.forget(name, answer.from);
            }
        }
        let mut disputed = BTreeMap::new();
        for (name, topic) in &answer.seen.topics {
            let Some(id) = topic.id else { continue };
            if let Verdict::Disputed(witnesses) = topic_ids.hear(name, answer.from, id, &brokers) {
                disputed.insert(name.clone(), (id, witnesses));
            }
        }
        disputed
    }

    /// Asks the brokers whose word decides, all at once, until each topic has one.
    async fn ask_witnesses(self: &Arc<Self>, mut disputed: Disputed) {
        let mut topics: BTreeMap<i32, Vec<Arc<str>>> = BTreeMap::new();
        for (name, (_, nodes)) in &disputed {
            for node in nodes {
                topics.entry(*node).or_default().push(name.clone());
            }
        }
        let ask = |(node, names): (i32, Vec<Arc<str>>)| async move {
            let seen = self.ask(node, &names).await;
            (node, names, seen)
        };
        let mut answers: FuturesUnordered<_> = topics.into_iter().map(ask).collect();
        while let Some((node, names, seen)) = answers.next().await {
            match seen {
                Ok(seen) => {
                    disputed.retain(|name, _| !seen.topics.contains_key(name));
                    self.hear(&Answer {
                        from: Some(node),
                        asked: &names,
                        seen,
                    });
                }
                Err(error) => {
                    tracing::debug!(broker = node, topics = ?names, %error, "cannot ask which topic id is the newer");
                }
            }
            if disputed.is_empty() {
                return;
            }
        }
        let mut topic_ids = self.topic_ids.lock();
        for (name, (id, _)) in disputed {
            topic_ids.concede(&name, id);
        }
    }

    async fn ask(self: &Arc<Self>, node: i32, names: &[Arc<str>]) -> Result<ClusterView, Error> {
        let connection = self.connection(node, Purpose::Admin).await?;
        let timeout = self.config.request_timeout;
        let response = connection.call(metadata_request(Some(names)), timeout);
        ClusterView::from_response(response.await?)
    }
}

/// What becomes of the topics that a broker was not asked for.
#[derive(Clone, Copy)]
pub(super) enum Others {
    /// They stay as they are.
    Stay,
    /// Nobody needs them any more.
    Go,
}

#[cfg(test)]
pub(super) mod tests;
