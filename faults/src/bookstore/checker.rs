//! Whether the figures that were published and stored of a bookstore are those of its events, each of
//! them once. Pure.

use std::collections::BTreeMap;
use std::fmt;

use proto::{Aggregate, AggregateData, Figures};

use super::sums::{Sums, counts};

/// How many violations are printed one by one.
const SHOWN: usize = 20;

/// What was seen of a run.
#[derive(Debug, Clone, Default)]
pub struct BookHistory {
    /// How many events there were.
    pub events: u64,
    /// What they come to.
    pub sums: Sums,
    /// All aggregates in their topic.
    pub published: Vec<Aggregate>,
    /// What producer-svc shows as the newest.
    pub stored: Vec<Aggregate>,
}

/// The result of checking a history.
#[derive(Debug, Clone)]
pub struct BookVerdict {
    pub events: u64,
    pub published: usize,
    pub violations: Vec<String>,
}

impl BookVerdict {
    /// # Panics
    /// When there is a violation, naming each.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.violations.is_empty(), "{self}");
    }
}

impl fmt::Display for BookVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} events, {} aggregates; violations: {}",
            self.events,
            self.published,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(SHOWN) {
            write!(f, "\n- {violation}")?;
        }
        Ok(())
    }
}

/// A book, or all of them, and when its figures were made.
type Versions<'a> = BTreeMap<Option<i64>, BTreeMap<i64, &'a Figures>>;

/// Checks it: the newest figures are exact, and none before them had more of anything than the ones
/// after them.
pub fn check(history: &BookHistory) -> BookVerdict {
    let mut violations = Vec::new();
    let published = versions(&history.published);
    let stored = versions(&history.stored);
    for (what, all) in [("published", &published), ("stored", &stored)] {
        for of in history.sums.books().map(Some).chain([None]) {
            let newest = all.get(&of).and_then(|versions| versions.values().last());
            let expected = history.sums.of(of);
            if newest.copied() != Some(&expected) {
                let of = Of(of);
                violations.push(format!("of {of} is {what} {newest:?}, not {expected:?}"));
            }
        }
        for of in all.keys().filter_map(|of| *of) {
            if !history.sums.books().any(|book| book == of) {
                violations.push(format!("book {of} is {what}, which had no event"));
            }
        }
    }
    for (of, versions) in &published {
        let versions: Vec<_> = versions.iter().collect();
        for pair in versions.windows(2) {
            let [(_, earlier), (at, later)] = pair else {
                continue;
            };
            let fewer = counts(earlier)
                .iter()
                .zip(counts(later))
                .any(|(earlier, later)| *earlier > later);
            if fewer {
                let of = Of(*of);
                violations.push(format!("of {of} at {at} follow {earlier:?} {later:?}"));
            }
        }
    }
    BookVerdict {
        events: history.events,
        published: history.published.len(),
        violations,
    }
}

fn versions(aggregates: &[Aggregate]) -> Versions<'_> {
    let mut versions = Versions::new();
    for aggregate in aggregates {
        let (of, figures) = match &aggregate.data {
            AggregateData::BookStats { book_id, figures } => (Some(*book_id), figures),
            AggregateData::SystemOverview { figures, .. } => (None, figures),
            AggregateData::PopularBooks(_) => continue,
        };
        let of = versions.entry(of).or_default();
        of.insert(aggregate.generated_at, figures);
    }
    versions
}

struct Of(Option<i64>);

impl fmt::Display for Of {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(book) => write!(f, "book {book}"),
            None => f.write_str("all books"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sums::event;
    use super::*;

    fn aggregates(sums: &Sums, generated_at: i64) -> Vec<Aggregate> {
        let whole = AggregateData::SystemOverview {
            books: sums.books().count() as i64,
            figures: sums.of(None),
        };
        let of = |book_id| AggregateData::BookStats {
            book_id,
            figures: sums.of(Some(book_id)),
        };
        let all = sums.books().map(of).chain([whole]);
        all.map(|data| Aggregate { generated_at, data }).collect()
    }

    /// Two rounds of figures, the second of which is stored.
    fn sound() -> BookHistory {
        let mut sums = Sums::default();
        (0..50).for_each(|number| sums.add(&event(number)));
        let mut published = aggregates(&sums, 1);
        (50..100).for_each(|number| sums.add(&event(number)));
        published.extend(aggregates(&sums, 2));
        BookHistory {
            events: 100,
            stored: aggregates(&sums, 2),
            published,
            sums,
        }
    }

    #[track_caller]
    fn expect(history: &BookHistory, words: &str) {
        let verdict = check(history).to_string();
        assert!(verdict.contains(words), "{verdict}");
    }

    #[test]
    fn a_sound_run_is_clean_in_whatever_order_its_aggregates_lie() {
        let mut history = sound();
        check(&history).assert_clean();
        history.published.reverse();
        check(&history).assert_clean();
    }

    #[test]
    fn an_event_that_is_missing_or_counted_twice_is_found() {
        let mut history = sound();
        history.sums.add(&event(100));
        expect(&history, "of all books is published");
        expect(&history, "of all books is stored");
        expect(&history, "of book 1 is published");
    }

    #[test]
    fn figures_that_fall_and_unknown_books_are_found() {
        let mut history = sound();
        for aggregate in &mut history.published {
            if let AggregateData::SystemOverview { figures, .. } = &mut aggregate.data
                && aggregate.generated_at == 1
            {
                figures.reviews = 1_000;
            }
        }
        expect(&history, "of all books at 2 follow");
        let mut history = sound();
        history.stored.push(Aggregate {
            generated_at: 1,
            data: AggregateData::BookStats {
                book_id: 99,
                figures: Figures::default(),
            },
        });
        expect(&history, "book 99 is stored, which had no event");
    }

    #[test]
    fn what_is_not_stored_is_missed() {
        let mut history = sound();
        history.stored.pop();
        expect(&history, "of all books is stored None");
    }
}
