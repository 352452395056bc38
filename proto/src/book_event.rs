use std::borrow::Cow;

use crate::amount::Amounts;
use crate::currency::Currency;
use crate::error::DecodeError;
use crate::event_type::EventType;
use crate::fields::{Fields, Names, either, same};
use crate::spelling::Spelling;
use crate::topics::{self, Topic};
use crate::writer::ObjectWriter;

/// The most that one purchase may cost, in minor units, and that one book may earn in one currency: 2^53 - 1, the
/// largest integer that JavaScript holds exactly.
pub const MAX_AMOUNT: i64 = (1 << 53) - 1;

/// What can happen to a book; a topic for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BookEventKind {
    Viewed,
    Downloaded,
    Purchased,
    Reviewed,
    Rated,
}

impl BookEventKind {
    /// All of them, in the order of the contract.
    pub const ALL: [BookEventKind; 5] = [
        BookEventKind::Viewed,
        BookEventKind::Downloaded,
        BookEventKind::Purchased,
        BookEventKind::Reviewed,
        BookEventKind::Rated,
    ];

    pub const fn event_type(self) -> EventType {
        match self {
            BookEventKind::Viewed => EventType::BookViewed,
            BookEventKind::Downloaded => EventType::BookDownloaded,
            BookEventKind::Purchased => EventType::BookPurchased,
            BookEventKind::Reviewed => EventType::BookReviewed,
            BookEventKind::Rated => EventType::BookRated,
        }
    }

    pub const fn topic(self) -> Topic {
        match self {
            BookEventKind::Viewed => topics::BOOK_VIEWS,
            BookEventKind::Downloaded => topics::BOOK_DOWNLOADS,
            BookEventKind::Purchased => topics::BOOK_PURCHASES,
            BookEventKind::Reviewed => topics::BOOK_REVIEWS,
            BookEventKind::Rated => topics::BOOK_RATINGS,
        }
    }

    /// The last part of its path: `/api/books/{bookId}/views`.
    pub const fn plural(self) -> &'static str {
        match self {
            BookEventKind::Viewed => "views",
            BookEventKind::Downloaded => "downloads",
            BookEventKind::Purchased => "purchases",
            BookEventKind::Reviewed => "reviews",
            BookEventKind::Rated => "ratings",
        }
    }

    /// Whether its topic has the user as its key, so that there must be one; the book otherwise.
    pub const fn is_keyed_by_user(self) -> bool {
        matches!(self, BookEventKind::Downloaded | BookEventKind::Purchased)
    }
}

/// Something that happened to a book, on the topic of its kind.
///
/// `{"eventId":"…","bookId":3,"userId":"…","timestamp":"…"}` and what its kind adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookEvent<'a> {
    /// 1 to 128 printable characters. One without is known by its header or its place.
    pub event_id: Option<Cow<'a, str>>,
    /// From 1 on.
    pub book_id: i64,
    /// 1 to 128 printable characters; never none where it is the key.
    pub user_id: Option<Cow<'a, str>>,
    /// When it happened, RFC 3339; what other systems write otherwise counts as none.
    pub timestamp: Option<Cow<'a, str>>,
    pub detail: BookDetail<'a>,
}

/// The kinds of [`BookEvent`], with what they add.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BookDetail<'a> {
    Viewed,
    Downloaded,
    Purchased {
        /// In minor units, 0 to [`MAX_AMOUNT`].
        amount: i64,
        currency: Currency,
    },
    Reviewed {
        text: Cow<'a, str>,
        action: ReviewAction,
    },
    /// 1 to 5. A user's newer rating of a book replaces the older.
    Rated(u8),
}

/// Whether a review is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReviewAction {
    Created,
    /// It was there before, and counts as little as nothing.
    Updated,
}

impl ReviewAction {
    pub const fn as_str(self) -> &'static str {
        match self {
            ReviewAction::Created => "created",
            ReviewAction::Updated => "updated",
        }
    }
}

impl ReviewAction {
    /// The reverse of [`ReviewAction::as_str`].
    fn parse(text: &str) -> Option<Self> {
        [ReviewAction::Created, ReviewAction::Updated]
            .into_iter()
            .find(|known| known.as_str() == text)
    }
}

impl BookDetail<'_> {
    pub const fn kind(&self) -> BookEventKind {
        match self {
            BookDetail::Viewed => BookEventKind::Viewed,
            BookDetail::Downloaded => BookEventKind::Downloaded,
            BookDetail::Purchased { .. } => BookEventKind::Purchased,
            BookDetail::Reviewed { .. } => BookEventKind::Reviewed,
            BookDetail::Rated(_) => BookEventKind::Rated,
        }
    }
}

const EVENT_ID: usize = 0;
const BOOK_ID: usize = 1;
pub(crate) const USER_ID: usize = 2;
const TIMESTAMP: usize = 3;
const AMOUNT: usize = 4;
const CURRENCY: usize = 5;
const RATING: usize = 6;
pub(crate) const TEXT: usize = 7;
const ACTION: usize = 8;
pub(crate) const FIELDS: usize = 9;
static NAMES: [Names; FIELDS] = [
    either("eventId", "event_id"),
    either("bookId", "book_id"),
    either("userId", "user_id"),
    same("timestamp"),
    same("amount"),
    same("currency"),
    same("rating"),
    same("text"),
    same("action"),
];

impl<'a> BookEvent<'a> {
    /// Reads a record's value; `kind` is that of its topic, `amounts` the unit of its writer's amounts.
    pub fn decode(
        value: &'a [u8],
        kind: BookEventKind,
        amounts: Amounts,
    ) -> Result<Self, DecodeError> {
        let mut fields = read(value)?;
        let event_id = event_id(&mut fields);
        let book_id = fields.number_id(BOOK_ID);
        let book_id = fields.required(BOOK_ID, book_id);
        let user_id = match kind {
            // Nobody asks who it was.
            BookEventKind::Viewed | BookEventKind::Reviewed => fields.id_if_fine(USER_ID),
            _ => user_id(&mut fields, kind),
        };
        let timestamp = fields.time(TIMESTAMP);
        let detail = detail(&mut fields, kind, Reading::Record(amounts));
        match (book_id, detail) {
            (Some(book_id), Some(detail)) if fields.is_fine() => Ok(Self {
                event_id,
                book_id,
                user_id,
                timestamp,
                detail,
            }),
            _ => Err(fields.into_error()),
        }
    }

    /// Appends the JSON to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut object = ObjectWriter::new(out);
        object
            .text_if("eventId", self.event_id.as_deref())
            .integer("bookId", self.book_id)
            .text_if("userId", self.user_id.as_deref())
            .text_if("timestamp", self.timestamp.as_deref());
        match &self.detail {
            BookDetail::Viewed | BookDetail::Downloaded => {}
            BookDetail::Purchased { amount, currency } => {
                object
                    .integer("amount", *amount)
                    .text("currency", currency.as_str());
            }
            BookDetail::Reviewed { text, action } => {
                object.text("text", text).text("action", action.as_str());
            }
            BookDetail::Rated(rating) => {
                object.integer("rating", i64::from(*rating));
            }
        }
        object.end();
    }
}

pub(crate) fn read(value: &[u8]) -> Result<Fields<'_, FIELDS>, DecodeError> {
    Fields::read(value, &NAMES, Spelling::Camel)
}

pub(crate) fn event_id<'a>(fields: &mut Fields<'a, FIELDS>) -> Option<Cow<'a, str>> {
    fields.order_id(EVENT_ID)
}

pub(crate) fn user_id<'a>(
    fields: &mut Fields<'a, FIELDS>,
    kind: BookEventKind,
) -> Option<Cow<'a, str>> {
    let user_id = fields.order_id(USER_ID);
    if kind.is_keyed_by_user() {
        return fields.required(USER_ID, user_id);
    }
    user_id
}

/// How strictly what a kind adds is read.
#[derive(Clone, Copy)]
pub(crate) enum Reading {
    /// As a request must have it.
    Request,
    /// As other systems write it.
    Record(Amounts),
}

/// What the kind adds; none if something is wrong with it.
pub(crate) fn detail<'a>(
    fields: &mut Fields<'a, FIELDS>,
    kind: BookEventKind,
    reading: Reading,
) -> Option<BookDetail<'a>> {
    match kind {
        BookEventKind::Viewed => Some(BookDetail::Viewed),
        BookEventKind::Downloaded => Some(BookDetail::Downloaded),
        BookEventKind::Purchased => {
            let amount = match reading {
                Reading::Request => fields.integer(AMOUNT),
                Reading::Record(amounts) => {
                    let currency = fields.peek_text(CURRENCY).and_then(Currency::parse);
                    let decimals = currency.map_or(2, |currency| currency.decimals());
                    fields.amount(AMOUNT, amounts, decimals)
                }
            };
            let amount = fields.required(AMOUNT, amount);
            match amount {
                Some(..0) => fields.wrong(AMOUNT, "must be at least 0"),
                Some(amount) if amount > MAX_AMOUNT => {
                    fields.wrong(AMOUNT, format!("must be at most {MAX_AMOUNT}"));
                }
                _ => {}
            }
            let code = fields.text(CURRENCY);
            let currency = fields.required(CURRENCY, code).and_then(|code| {
                let currency = Currency::known(&code);
                if currency.is_none() {
                    fields.wrong(CURRENCY, "must be a currency of ISO 4217, such as RUB");
                }
                currency
            });
            let (amount, currency) = (amount?, currency?);
            Some(BookDetail::Purchased { amount, currency })
        }
        BookEventKind::Reviewed => {
            let text = fields.non_empty_text(TEXT);
            let text = fields.required(TEXT, text);
            let action = fields.text(ACTION);
            let action = fields.required(ACTION, action).and_then(|action| {
                let found = match reading {
                    Reading::Request => ReviewAction::parse(&action),
                    Reading::Record(_) => ReviewAction::parse(&action.to_ascii_lowercase()),
                };
                if found.is_none() {
                    fields.wrong(ACTION, "must be created or updated");
                }
                found
            });
            let (text, action) = (text?, action?);
            Some(BookDetail::Reviewed { text, action })
        }
        BookEventKind::Rated => {
            let rating = match reading {
                Reading::Request => fields.integer(RATING),
                Reading::Record(_) => fields.whole(RATING),
            };
            let rating = fields.required(RATING, rating)?;
            if !(1..=5).contains(&rating) {
                fields.wrong(RATING, "must be 1 to 5");
                return None;
            }
            Some(BookDetail::Rated(rating as u8))
        }
    }
}
