//! Whether every user who was answered has exactly one cart with exactly what was put in, and every
//! event was told, in order. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use proto::identity;

use super::registrations::{ITEMS, Registered};

/// How many violations are printed one by one.
const SHOWN: usize = 20;

/// What was seen of a run.
#[derive(Debug, Clone, Default)]
pub struct CartHistory {
    /// What customers were answered.
    pub registered: Vec<Registered>,
    /// Ids of the users' table.
    pub users: Vec<i64>,
    /// User and id of each cart.
    pub carts: Vec<(i64, i64)>,
    /// User and id of each item, by id.
    pub items: Vec<(i64, i64)>,
    /// `UserCreated`, in the order of the log.
    pub user_events: Vec<Event>,
    /// Events of carts, in the order of the log.
    pub cart_events: Vec<Event>,
}

/// A record of an entity's topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub user: i64,
    /// Its `ce_id`.
    pub id: String,
    pub partition: i32,
    /// Of `CartItemAdded`; none: the user or the cart was created.
    pub item: Option<i64>,
}

/// The result of checking a history.
#[derive(Debug, Clone)]
pub struct CartVerdict {
    pub registered: usize,
    pub requests: u64,
    /// Records that repeat an event.
    pub repeats: usize,
    pub violations: Vec<String>,
}

impl CartVerdict {
    /// # Panics
    /// When there is a violation, naming each.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.violations.is_empty(), "{self}");
    }
}

impl fmt::Display for CartVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} registrations, {} requests, {} events repeated; violations: {}",
            self.registered,
            self.requests,
            self.repeats,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(SHOWN) {
            write!(f, "\n- {violation}")?;
        }
        Ok(())
    }
}

/// Checks it.
pub fn check(history: &CartHistory) -> CartVerdict {
    let mut violations = Vec::new();
    let mut wrong = |what: String| violations.push(what);
    let answered: BTreeSet<i64> = history.registered.iter().map(|r| r.user).collect();
    if answered.len() != history.registered.len() {
        wrong("two customers were answered with the same user".to_owned());
    }
    let users: BTreeSet<i64> = history.users.iter().copied().collect();
    for user in answered.symmetric_difference(&users) {
        wrong(format!("user {user} was not both answered and stored"));
    }
    let mut carts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (user, cart) in &history.carts {
        carts.entry(*user).or_default().push(*cart);
    }
    let mut items: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (user, item) in &history.items {
        items.entry(*user).or_default().push(*item);
    }
    for user in &users {
        let own = carts.remove(user).unwrap_or_default();
        if own.len() != 1 {
            wrong(format!("user {user} has {} carts", own.len()));
        }
    }
    for user in carts.keys() {
        wrong(format!("there is a cart of user {user}, whom nobody knows"));
    }
    for registered in &history.registered {
        let user = registered.user;
        let own = items.get(&user).cloned().unwrap_or_default();
        if registered.items.len() != ITEMS.len() || own != registered.items {
            let answered = &registered.items;
            wrong(format!(
                "user {user} was answered items {answered:?} and has {own:?}"
            ));
        }
    }
    let told = by_user(&history.user_events);
    let of_carts = by_user(&history.cart_events);
    for (what, events) in [("user", &told), ("cart", &of_carts)] {
        for user in events.keys().filter(|user| !users.contains(user)) {
            wrong(format!("a {what} event of user {user}, whom nobody knows"));
        }
    }
    for user in &users {
        let created = [identity::user_created(*user).to_string()];
        let ids: Vec<&str> = firsts(told.get(user)).map(|event| &*event.id).collect();
        if ids != created {
            wrong(format!("user {user} was told as {ids:?}"));
        }
        let events: Vec<&Event> = firsts(of_carts.get(user)).collect();
        let created = identity::cart_created(*user).to_string();
        if events.first().is_none_or(|first| first.id != created) {
            wrong(format!(
                "the cart of user {user} does not begin with CartCreated"
            ));
        }
        let added: Vec<i64> = events.iter().filter_map(|event| event.item).collect();
        let own = items.get(user).cloned().unwrap_or_default();
        if added != own || events.len() != own.len() + 1 {
            wrong(format!(
                "of user {user}, items {added:?} were told, not {own:?}"
            ));
        }
        for events in [told.get(user), of_carts.get(user)].into_iter().flatten() {
            if events.iter().any(|e| e.partition != events[0].partition) {
                wrong(format!("events of user {user} lie in several partitions"));
            }
        }
    }
    let distinct = |events: &[Event]| {
        let ids: BTreeSet<&str> = events.iter().map(|event| &*event.id).collect();
        ids.len()
    };
    let repeats = [&history.user_events, &history.cart_events]
        .map(|events| events.len() - distinct(events))
        .iter()
        .sum();
    CartVerdict {
        registered: history.registered.len(),
        requests: history.registered.iter().map(|r| r.requests).sum(),
        repeats,
        violations,
    }
}

fn by_user(events: &[Event]) -> BTreeMap<i64, Vec<&Event>> {
    let mut by_user: BTreeMap<i64, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_user.entry(event.user).or_default().push(event);
    }
    by_user
}

/// Each event where it was told first.
fn firsts<'a>(events: Option<&'a Vec<&'a Event>>) -> impl Iterator<Item = &'a Event> {
    let mut seen = BTreeSet::new();
    let events = events.into_iter().flatten().copied();
    events.filter(move |event| seen.insert(&*event.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two users, each with a cart and two items.
    fn sound() -> CartHistory {
        let mut history = CartHistory::default();
        for user in [1, 2] {
            let items = vec![user * 10, user * 10 + 1];
            let event = |id: String, item| Event {
                user,
                id,
                partition: 0,
                item,
            };
            history.users.push(user);
            history.carts.push((user, user + 100));
            history.items.extend(items.iter().map(|item| (user, *item)));
            let created = identity::user_created(user).to_string();
            history.user_events.push(event(created, None));
            let created = identity::cart_created(user).to_string();
            history.cart_events.push(event(created, None));
            for item in &items {
                let id = format!("added-{item}");
                history.cart_events.push(event(id, Some(*item)));
            }
            history.registered.push(Registered {
                user,
                items,
                requests: 3,
            });
        }
        history
    }

    #[test]
    fn a_sound_run_is_clean_and_repeats_are_counted() {
        let mut history = sound();
        check(&history).assert_clean();
        // As a relay repeats that was killed before its mark.
        history.user_events.push(history.user_events[0].clone());
        history.cart_events.push(history.cart_events[1].clone());
        let verdict = check(&history);
        verdict.assert_clean();
        assert_eq!((verdict.registered, verdict.repeats), (2, 2));
    }

    #[test]
    fn everything_else_is_named() {
        type Change = fn(&mut CartHistory);
        let changes: [(&str, Change); 9] = [
            ("not both answered and stored", |h| {
                h.users.push(3);
                h.carts.push((3, 103));
            }),
            ("user 1 has 2 carts", |h| h.carts.push((1, 103))),
            ("user 2 has 0 carts", |h| h.carts.truncate(1)),
            ("whom nobody knows", |h| h.carts.push((7, 107))),
            ("user 2 was answered items", |h| h.items.push((2, 29))),
            ("user 1 was told as []", |h| drop(h.user_events.remove(0))),
            ("does not begin with CartCreated", |h| {
                h.cart_events.swap(0, 1);
            }),
            ("items [11, 10] were told", |h| h.cart_events.swap(1, 2)),
            ("several partitions", |h| h.cart_events[1].partition = 2),
        ];
        for (named, change) in changes {
            let mut history = sound();
            change(&mut history);
            let verdict = check(&history);
            assert!(verdict.to_string().contains(named), "{named}: {verdict}");
        }
    }
}
