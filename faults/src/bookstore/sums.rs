//! Events of books, and what they come to. Pure.

use std::collections::BTreeMap;

use proto::{Average, BookDetail, BookEvent, BookEventKind, Currency, Figures, ReviewAction};

/// Books that events are about.
const BOOKS: u64 = 20;

/// Event number `number`: one of each kind in turn.
pub fn event(number: u64) -> BookEvent<'static> {
    let kind = BookEventKind::ALL[(number % 5) as usize];
    event_of(kind, number)
}

/// An event of this kind, with an id, and by a user of its own: so their sequence does not matter.
///
/// # Panics
/// Never: the currencies are some.
pub fn event_of(kind: BookEventKind, number: u64) -> BookEvent<'static> {
    let detail = match kind {
        BookEventKind::Viewed => BookDetail::Viewed,
        BookEventKind::Downloaded => BookDetail::Downloaded,
        BookEventKind::Purchased => {
            let code = if number.is_multiple_of(3) {
                "USD"
            } else {
                "RUB"
            };
            BookDetail::Purchased {
                amount: (number % 1_000) as i64,
                currency: Currency::parse(code).expect("a currency"),
            }
        }
        BookEventKind::Reviewed => BookDetail::Reviewed {
            text: "good".into(),
            action: ReviewAction::Created,
        },
        BookEventKind::Rated => BookDetail::Rated((number / 5 % 5 + 1) as u8),
    };
    BookEvent {
        event_id: Some(format!("event-{number}").into()),
        book_id: (number / 5 % BOOKS + 1) as i64,
        user_id: Some(format!("user-{number}").into()),
        timestamp: None,
        detail,
    }
}

/// What events come to.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// Of each book; `None` is all of them.
    figures: BTreeMap<Option<i64>, Figures>,
    stars: BTreeMap<Option<i64>, i64>,
}

impl Sums {
    /// One event more; each rating is by another user.
    pub fn add(&mut self, event: &BookEvent<'_>) {
        for of in [None, Some(event.book_id)] {
            let figures = self.figures.entry(of).or_default();
            match &event.detail {
                BookDetail::Viewed => figures.views += 1,
                BookDetail::Downloaded => figures.downloads += 1,
                BookDetail::Purchased { amount, currency } => {
                    figures.purchases += 1;
                    *figures.revenue.entry(*currency).or_default() += amount;
                }
                BookDetail::Reviewed { .. } => figures.reviews += 1,
                BookDetail::Rated(stars) => {
                    let sum = self.stars.entry(of).or_default();
                    *sum += i64::from(*stars);
                    figures.ratings += 1;
                    figures.average_rating = Average::of(*sum, figures.ratings);
                }
            }
        }
    }

    /// Figures of a book that no event is behind.
    pub fn set(&mut self, book: i64, figures: Figures) {
        self.figures.insert(Some(book), figures);
    }

    /// Of a book, or of all events.
    pub fn of(&self, book: Option<i64>) -> Figures {
        self.figures.get(&book).cloned().unwrap_or_default()
    }

    /// The books that have figures.
    pub fn books(&self) -> impl Iterator<Item = i64> {
        self.figures.keys().filter_map(|book| *book)
    }
}

/// How many events some figures are of.
pub fn events(figures: &Figures) -> i64 {
    counts(figures).iter().sum()
}

pub(super) fn counts(figures: &Figures) -> [i64; 5] {
    [
        figures.views,
        figures.downloads,
        figures.purchases,
        figures.reviews,
        figures.ratings,
    ]
}
