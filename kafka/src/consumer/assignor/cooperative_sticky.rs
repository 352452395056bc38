//! `cooperative-sticky`: balanced over the number of partitions, moving as few as possible, and in two steps: what
//! moves is first only taken away; once its owner has let go of it and joined again, it is given (KIP-429).
//!
//! Compatible with Java's `CooperativeStickyAssignor` in what it reads and promises: a leader of either make takes
//! over from the other without moving more than balance asks for. Which partition of an overloaded member moves is
//! this one's own choice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Buf;

use super::Member;
use crate::consumer::topic_partition::TopicPartition;

/// One list for each member, in their order.
pub(super) fn assign(
    members: &[&Member],
    topics: &BTreeMap<Arc<str>, i32>,
) -> Vec<Vec<TopicPartition>> {
    let mut balance = Balance::new(members, topics);
    balance.keep_owned(members);
    let kept = balance
        .owner
        .iter()
        .map(Option::is_some)
        .collect::<Vec<_>>();
    balance.give_rest();
    // What is free anyway moves first: it interrupts nobody.
    balance.even_out(|partition| !kept[partition]);
    balance.even_out(|_| true);
    let mut given = balance.given();
    take_away_first(members, &mut given);
    given
}

/// Partitions and members by index.
struct Balance<'a> {
    topics: Vec<(&'a Arc<str>, i32)>,
    /// Per topic: the members that may have it.
    takers: Vec<Vec<usize>>,
    /// Per topic: the index of its partition 0; its partitions follow.
    first: Vec<usize>,
    /// Per partition: its topic.
    topic_of: Vec<usize>,
    owner: Vec<Option<usize>>,
    /// Per member: what it has.
    held: Vec<Vec<usize>>,
}

impl<'a> Balance<'a> {
    fn new(members: &[&Member], topics: &'a BTreeMap<Arc<str>, i32>) -> Self {
        let topics: Vec<_> = topics
            .iter()
            .map(|(topic, count)| (topic, *count))
            .collect();
        let takers = topics
            .iter()
            .map(|(topic, _)| {
                (0..members.len())
                    .filter(|at| members[*at].subscribes(topic))
                    .collect()
            })
            .collect();
        let mut first = Vec::with_capacity(topics.len());
        let mut topic_of = Vec::new();
        for (at, (_, count)) in topics.iter().enumerate() {
            first.push(topic_of.len());
            topic_of.extend(std::iter::repeat_n(at, *count as usize));
        }
        let owner = vec![None; topic_of.len()];
        Self {
            topics,
            takers,
            first,
            topic_of,
            owner,
            held: vec![Vec::new(); members.len()],
        }
    }

    /// Owners keep what they may still have. Where two claim a partition, the claim of the later generation counts;
    /// in the same generation neither does, since one of them is mistaken.
    fn keep_owned(&mut self, members: &[&Member]) {
        let by_name: HashMap<&str, usize> = self
            .topics
            .iter()
            .enumerate()
            .map(|(at, (topic, _))| (&***topic, at))
            .collect();
        // The generation of the best claim on each partition, and whose it is unless it is disputed.
        let mut claims: Vec<Option<(i32, Option<usize>)>> = vec![None; self.owner.len()];
        for (at, member) in members.iter().enumerate() {
            let generation = generation(member);
            for owned in &member.subscription.owned {
                let Some(&topic) = by_name.get(&*owned.topic) else {
                    continue;
                };
                if owned.partition < 0 || owned.partition >= self.topics[topic].1 {
                    continue;
                }
                let claim = &mut claims[self.first[topic] + owned.partition as usize];
                *claim = match *claim {
                    Some((best, owner)) if best > generation => Some((best, owner)),
                    Some((best, owner)) if best == generation && owner != Some(at) => {
                        Some((best, None))
                    }
                    _ => Some((generation, Some(at))),
                };
            }
        }
        for (partition, claim) in claims.into_iter().enumerate() {
            if let Some((_, Some(owner))) = claim
                && self.takers[self.topic_of[partition]].contains(&owner)
            {
                self.owner[partition] = Some(owner);
                self.held[owner].push(partition);
            }
        }
    }

    /// What nobody has goes to whoever has least; topics with the fewest takers first, since they have least choice.
    fn give_rest(&mut self) {
        let mut free: Vec<usize> = (0..self.owner.len())
            .filter(|at| self.owner[*at].is_none())
            .collect();
        free.sort_by_key(|partition| self.takers[self.topic_of[*partition]].len());
        for partition in free {
            let takers = &self.takers[self.topic_of[partition]];
            if let Some(&taker) = takers.iter().min_by_key(|taker| self.held[**taker].len()) {
                self.owner[partition] = Some(taker);
                self.held[taker].push(partition);
            }
        }
    }

    /// Moves single partitions from a member to one that has at least two fewer and may have it, until there is no
    /// such pair. Each move brings the two closer, so this ends; with equal subscriptions it ends with all members
    /// within one of each other.
    fn even_out(&mut self, may_move: impl Fn(usize) -> bool) {
        let mut fullest: Vec<usize> = (0..self.held.len()).collect();
        loop {
            // One move at a time, always from the fullest that can give: nobody gives more than it has to.
            fullest.sort_by_key(|member| std::cmp::Reverse(self.held[*member].len()));
            let best = fullest.iter().find_map(|&from| {
                self.best_move(from, &may_move)
                    .map(|(at, to)| (from, at, to))
            });
            let Some((from, at, to)) = best else { return };
            let partition = self.held[from].remove(at);
            self.held[to].push(partition);
            self.owner[partition] = Some(to);
        }
    }

    /// The move away from a member that evens out most: position in what it has, and the taker.
    fn best_move(&self, from: usize, may_move: impl Fn(usize) -> bool) -> Option<(usize, usize)> {
        let has = self.held[from].len();
        let (mut best, mut topic_seen) = (None, usize::MAX);
        // Backwards, so that what came last goes first.
        for (at, partition) in self.held[from].iter().enumerate().rev() {
            let topic = self.topic_of[*partition];
            if topic == topic_seen || !may_move(*partition) {
                continue;
            }
            topic_seen = topic;
            for &to in &self.takers[topic] {
                let would_have = self.held[to].len() + 1;
                if would_have < has && best.is_none_or(|(least, _, _)| would_have < least) {
                    best = Some((would_have, at, to));
                }
            }
        }
        best.map(|(_, at, to)| (at, to))
    }

    fn given(&self) -> Vec<Vec<TopicPartition>> {
        let name = |partition: &usize| {
            let topic = self.topic_of[*partition];
            TopicPartition::new(
                self.topics[topic].0.clone(),
                (partition - self.first[topic]) as i32,
            )
        };
        let mut given: Vec<Vec<_>> = self
            .held
            .iter()
            .map(|held| held.iter().map(name).collect())
            .collect();
        given
            .iter_mut()
            .for_each(|partitions| partitions.sort_unstable());
        given
    }
}

/// Nobody is newly given what another member still holds: the rebalance that follows its letting go gives it.
fn take_away_first(members: &[&Member], given: &mut [Vec<TopicPartition>]) {
    let mut holders: HashMap<&TopicPartition, Vec<usize>> = HashMap::new();
    for (at, member) in members.iter().enumerate() {
        for owned in &member.subscription.owned {
            holders.entry(owned).or_default().push(at);
        }
    }
    for (at, partitions) in given.iter_mut().enumerate() {
        partitions.retain(|partition| {
            holders
                .get(partition)
                .is_none_or(|holders| holders.contains(&at))
        });
    }
}

/// When a member got what it owns: from its subscription, or from the user data of peers older than KIP-792; -1 if
/// it does not say.
fn generation(member: &Member) -> i32 {
    let subscription = &member.subscription;
    subscription
        .generation
        .or_else(|| {
            subscription
                .user_data
                .clone()
                .and_then(|mut data| data.try_get_i32().ok())
        })
        .unwrap_or(-1)
}
