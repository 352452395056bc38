use proto::{BookDetail, BookEvent, BookEventKind, Currency, ReviewAction, identity};
use uuid::Uuid;

/// What a book event has to say to the statistics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    /// By which a repeat is known; none for an event that is known by its place alone, which is never repeated.
    pub(crate) id: Option<Uuid>,
    pub(crate) book_id: i64,
    pub(crate) effect: Effect,
}

/// What it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// One more view, download or review.
    Counts,
    /// One more purchase.
    Earns { currency: Currency, amount: i64 },
    /// A rating; the user's last one of the book counts. Without a user it stands for itself.
    Rates { user: Option<Box<str>>, stars: i64 },
}

impl Fact {
    /// None if the event changes nothing: an updated review. `ce_id` is its header.
    pub(crate) fn of(event: &BookEvent<'_>, ce_id: Option<&str>) -> Option<Self> {
        let effect = match &event.detail {
            BookDetail::Viewed | BookDetail::Downloaded => Effect::Counts,
            BookDetail::Purchased { amount, currency } => Effect::Earns {
                currency: *currency,
                amount: *amount,
            },
            BookDetail::Reviewed { action, .. } => match action {
                ReviewAction::Created => Effect::Counts,
                ReviewAction::Updated => return None,
            },
            BookDetail::Rated(stars) => Effect::Rates {
                user: event.user_id.as_deref().map(Box::from),
                stars: i64::from(*stars),
            },
        };
        Some(Self {
            id: ce_id.or(event.event_id.as_deref()).map(identity::digest),
            book_id: event.book_id,
            effect,
        })
    }
}

/// How a kind is stored; never to be changed.
pub(super) fn number(kind: BookEventKind) -> i64 {
    match kind {
        BookEventKind::Viewed => 0,
        BookEventKind::Downloaded => 1,
        BookEventKind::Purchased => 2,
        BookEventKind::Reviewed => 3,
        BookEventKind::Rated => 4,
    }
}

/// The kind that is stored as this.
pub(super) fn kind_of(stored: i64) -> Option<BookEventKind> {
    BookEventKind::ALL
        .into_iter()
        .find(|kind| number(*kind) == stored)
}
