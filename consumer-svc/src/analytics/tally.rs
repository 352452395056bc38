//! The statistics without I/O: what facts change in the figures of one partition's books.

use std::collections::{BTreeMap, HashSet};

use proto::{Currency, MAX_AMOUNT};
use uuid::Uuid;

use super::fact::{Effect, Fact};

/// What is added to the figures of a partition: by book, and for purchases by currency.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) books: BTreeMap<(i64, Option<Currency>), Added>,
    /// The last rating of each book by each user, of which only the store knows the one before.
    pub(super) ratings: BTreeMap<(i64, Box<str>), i64>,
    /// Facts that counted, and those that were known.
    pub(super) counted: u64,
    pub(super) repeated: u64,
}

/// What is added to one line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Added {
    pub(super) events: i64,
    /// Money in minor units, at most [`MAX_AMOUNT`]; of ratings the stars.
    pub(super) amount: i64,
}

impl Tally {
    /// Of facts in the order of their partition. `fresh` are the ids that nobody has counted; each of them counts once,
    /// and is taken out.
    pub(super) fn of(facts: &[Fact], fresh: &mut HashSet<Uuid>) -> Self {
        let mut tally = Self::default();
        for fact in facts {
            if fact.id.is_some_and(|id| !fresh.remove(&id)) {
                tally.repeated += 1;
                continue;
            }
            tally.counted += 1;
            match &fact.effect {
                Effect::Counts => tally.add(fact.book_id, None, 1, 0),
                Effect::Earns { currency, amount } => {
                    tally.add(fact.book_id, Some(*currency), 1, *amount);
                }
                Effect::Rates { user: None, stars } => tally.add(fact.book_id, None, 1, *stars),
                Effect::Rates {
                    user: Some(user),
                    stars,
                } => {
                    tally.ratings.insert((fact.book_id, user.clone()), *stars);
                }
            }
        }
        tally
    }

    /// What the store knew of a rating in [`Tally::ratings`].
    pub(super) fn rated(&mut self, book_id: i64, stars: i64, earlier: Option<i64>) {
        match earlier {
            None => self.add(book_id, None, 1, stars),
            Some(earlier) if earlier == stars => {}
            Some(earlier) => self.add(book_id, None, 0, stars - earlier),
        }
    }

    fn add(&mut self, book_id: i64, currency: Option<Currency>, events: i64, amount: i64) {
        let added = self.books.entry((book_id, currency)).or_default();
        added.events += events;
        // As the store does: it stands still at the end instead of running over.
        added.amount = (added.amount + amount).min(MAX_AMOUNT);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn effect() -> impl Strategy<Value = Effect> {
        let currency = prop_oneof![Just("RUB"), Just("USD")];
        prop_oneof![
            Just(Effect::Counts),
            (currency, 0..1000i64).prop_map(|(code, amount)| Effect::Earns {
                currency: Currency::parse(code).unwrap(),
                amount,
            }),
            (proptest::option::of(0..3u8), 1..=5i64).prop_map(|(user, stars)| Effect::Rates {
                user: user.map(|user| user.to_string().into()),
                stars,
            }),
        ]
    }

    fn fact() -> impl Strategy<Value = Fact> {
        (proptest::option::of(0..20u128), 1..4i64, effect()).prop_map(|(id, book_id, effect)| {
            Fact {
                id: id.map(Uuid::from_u128),
                book_id,
                effect,
            }
        })
    }

    type Figures = BTreeMap<(i64, Option<Currency>), Added>;

    /// One fact after another, everything remembered.
    fn naively(facts: &[Fact]) -> Figures {
        let mut seen = HashSet::new();
        let mut figures: Figures = BTreeMap::new();
        let mut ratings = HashMap::new();
        for fact in facts {
            if fact.id.is_some_and(|id| !seen.insert(id)) {
                continue;
            }
            let (currency, events, amount) = match &fact.effect {
                Effect::Counts => (None, 1, 0),
                Effect::Earns { currency, amount } => (Some(*currency), 1, *amount),
                Effect::Rates { user: None, stars } => (None, 1, *stars),
                Effect::Rates {
                    user: Some(user),
                    stars,
                } => match ratings.insert((fact.book_id, user.clone()), *stars) {
                    None => (None, 1, *stars),
                    Some(earlier) => (None, 0, stars - earlier),
                },
            };
            let line = figures.entry((fact.book_id, currency)).or_default();
            line.events += events;
            line.amount += amount;
        }
        figures
    }

    proptest! {
        /// Whatever the batches, the figures are those of one fact after another.
        #[test]
        fn batches_come_to_what_single_facts_do(
            facts in proptest::collection::vec(fact(), 0..60),
            cuts in proptest::collection::vec(0..60usize, 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(facts.len())).collect();
            cuts.extend([0, facts.len()]);
            cuts.sort_unstable();
            let mut seen = HashSet::new();
            let mut stored = HashMap::new();
            let mut figures: Figures = BTreeMap::new();
            let mut counted = 0;
            for cut in cuts.windows(2) {
                let batch = &facts[cut[0]..cut[1]];
                let mut fresh: HashSet<_> = batch
                    .iter()
                    .filter_map(|fact| fact.id)
                    .filter(|id| seen.insert(*id))
                    .collect();
                let mut tally = Tally::of(batch, &mut fresh);
                prop_assert_eq!(tally.counted + tally.repeated, batch.len() as u64);
                counted += tally.counted;
                for ((book, user), stars) in tally.ratings.clone() {
                    let earlier = stored.insert((book, user), stars);
                    tally.rated(book, stars, earlier);
                }
                for (line, added) in tally.books {
                    let sum = figures.entry(line).or_default();
                    sum.events += added.events;
                    sum.amount += added.amount;
                }
            }
            prop_assert_eq!(figures, naively(&facts));
            // The same once more changes nothing.
            let known: Vec<_> = facts.iter().filter(|fact| fact.id.is_some()).cloned().collect();
            let again = Tally::of(&known, &mut HashSet::new());
            prop_assert!(again.books.is_empty() && again.ratings.is_empty());
            prop_assert!(counted >= (facts.len() - known.len()) as u64);
        }
    }

    #[test]
    fn money_stands_still_at_the_end() {
        let most = Fact {
            id: None,
            book_id: 1,
            effect: Effect::Earns {
                currency: Currency::parse("RUB").unwrap(),
                amount: MAX_AMOUNT,
            },
        };
        let tally = Tally::of(&[most.clone(), most], &mut HashSet::new());
        let added = tally.books.values().next().unwrap();
        assert_eq!((added.events, added.amount), (2, MAX_AMOUNT));
    }
}
