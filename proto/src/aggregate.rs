use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::average::Average;
use crate::currency::Currency;
use crate::error::{DecodeError, FieldError, FieldErrors};
use crate::event_type::EventType;
use crate::fields::BYTE_ORDER_MARK;
use crate::time::Rfc3339;
use crate::writer::ObjectWriter;

/// What the events of books come to, on `analytics.aggregated-stats`.
///
/// `{"aggregationType":"…","generatedAt":"…","data":…}`
///
/// Figures are totals, not changes: of two aggregates of one type (and book) the one with the later `generatedAt`
/// counts, wherever it lies in the log. The publisher never gives one time twice, nor an earlier one after a later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// Milliseconds since 1970.
    pub generated_at: i64,
    pub data: AggregateData,
}

/// An aggregate as a reader finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadAggregate {
    Known(Aggregate),
    /// Of a type that is not known here, as it is called.
    Other(String),
}

impl ReadAggregate {
    /// None if its type is not known here.
    pub fn known(self) -> Option<Aggregate> {
        match self {
            ReadAggregate::Known(aggregate) => Some(aggregate),
            ReadAggregate::Other(_) => None,
        }
    }
}

/// The kinds of [`Aggregate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AggregateData {
    /// BOOK_STATS.
    BookStats { book_id: i64, figures: Figures },
    /// SYSTEM_OVERVIEW: the same over all books.
    SystemOverview { books: i64, figures: Figures },
    /// POPULAR_BOOKS, by rank.
    PopularBooks(Vec<PopularBook>),
}

/// Sums of events. None is negative, and none is above what JavaScript holds exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    pub views: i64,
    pub downloads: i64,
    pub purchases: i64,
    /// In minor units.
    pub revenue: BTreeMap<Currency, i64>,
    /// Updates of reviews do not count.
    pub reviews: i64,
    /// Users that rated; of each the last rating counts.
    pub ratings: i64,
    /// None without ratings.
    pub average_rating: Option<Average>,
}

/// A line of POPULAR_BOOKS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PopularBook {
    /// From 1 on.
    pub rank: i64,
    pub book_id: i64,
    /// [`PopularBook::score_of`] the others.
    pub score: i64,
    pub views: i64,
    pub downloads: i64,
    pub purchases: i64,
}

impl PopularBook {
    /// views + 3 × downloads + 5 × purchases.
    pub fn score_of(views: i64, downloads: i64, purchases: i64) -> i64 {
        views
            .saturating_add(downloads.saturating_mul(3))
            .saturating_add(purchases.saturating_mul(5))
    }
}

impl AggregateData {
    pub const fn event_type(&self) -> EventType {
        match self {
            AggregateData::BookStats { .. } => EventType::BookStats,
            AggregateData::SystemOverview { .. } => EventType::SystemOverview,
            AggregateData::PopularBooks(_) => EventType::PopularBooks,
        }
    }

    /// `aggregationType`, which is also the key.
    pub const fn aggregation_type(&self) -> &'static str {
        match self {
            AggregateData::BookStats { .. } => "BOOK_STATS",
            AggregateData::SystemOverview { .. } => "SYSTEM_OVERVIEW",
            AggregateData::PopularBooks(_) => "POPULAR_BOOKS",
        }
    }

    /// The book it is about, if it is about one.
    pub const fn book_id(&self) -> Option<i64> {
        match self {
            AggregateData::BookStats { book_id, .. } => Some(*book_id),
            _ => None,
        }
    }
}

impl Aggregate {
    /// Reads a record's value. [`ReadAggregate::Other`] is one of a type that is not known here: nothing to do for a
    /// reader, and nothing wrong either. Wrong fields are named by their path, such as `data.views`.
    pub fn decode(value: &[u8]) -> Result<ReadAggregate, DecodeError> {
        let value = value.strip_prefix(BYTE_ORDER_MARK).unwrap_or(value);
        if value.trim_ascii().is_empty() {
            return Err(DecodeError::Empty);
        }
        let value: Value = serde_json::from_slice(value)
            .map_err(|error| DecodeError::NotJson(error.to_string()))?;
        let Value::Object(object) = &value else {
            return Err(DecodeError::NotObject(kind(&value)));
        };
        let mut reader = Reader::default();
        let named = reader.text(object, AGGREGATION_TYPE);
        let kind = named.and_then(|named| {
            let known = ["BOOK_STATS", "SYSTEM_OVERVIEW", "POPULAR_BOOKS"];
            known
                .into_iter()
                .find(|known| known.eq_ignore_ascii_case(named))
        });
        if let (Some(named), None) = (named, kind) {
            return Ok(ReadAggregate::Other(named.to_owned()));
        }
        let generated_at = reader.time(object, GENERATED_AT);
        let data = reader.of(object, DATA);
        let data = match (kind, data) {
            (Some("BOOK_STATS"), Some(data)) => reader.object(data).and_then(|data| {
                let book_id = reader.integer(data, BOOK_ID, 1);
                let figures = reader.figures(data);
                Some(AggregateData::BookStats {
                    book_id: book_id?,
                    figures: figures?,
                })
            }),
            (Some("SYSTEM_OVERVIEW"), Some(data)) => reader.object(data).and_then(|data| {
                let books = reader.integer(data, BOOKS, 0);
                let figures = reader.figures(data);
                Some(AggregateData::SystemOverview {
                    books: books?,
                    figures: figures?,
                })
            }),
            (Some("POPULAR_BOOKS"), Some(data)) => {
                reader.popular(data).map(AggregateData::PopularBooks)
            }
            _ => None,
        };
        match (generated_at, data) {
            (Some(generated_at), Some(data)) if reader.errors.is_empty() => {
                Ok(ReadAggregate::Known(Self { generated_at, data }))
            }
            _ => Err(DecodeError::Fields(FieldErrors(reader.errors))),
        }
    }

    /// Appends the JSON to `out`, fields in the order of the contract, currencies in that of the alphabet.
    pub fn write(&self, out: &mut Vec<u8>) {
        ObjectWriter::new(out)
            .text("aggregationType", self.data.aggregation_type())
            .text("generatedAt", &Rfc3339::from_millis(self.generated_at))
            .nested("data", |out| self.write_data(out))
            .end();
    }

    fn write_data(&self, out: &mut Vec<u8>) {
        match &self.data {
            AggregateData::BookStats { book_id, figures } => {
                let mut object = ObjectWriter::new(out);
                object.integer("bookId", *book_id);
                figures.write(&mut object);
            }
            AggregateData::SystemOverview { books, figures } => {
                let mut object = ObjectWriter::new(out);
                object.integer("books", *books);
                figures.write(&mut object);
            }
            AggregateData::PopularBooks(books) => {
                out.push(b'[');
                for (index, book) in books.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    ObjectWriter::new(out)
                        .integer("rank", book.rank)
                        .integer("bookId", book.book_id)
                        .integer("score", book.score)
                        .integer("views", book.views)
                        .integer("downloads", book.downloads)
                        .integer("purchases", book.purchases)
                        .end();
                }
                out.push(b']');
            }
        }
    }
}

impl Figures {
    fn write(&self, object: &mut ObjectWriter<'_>) {
        object
            .integer("views", self.views)
            .integer("downloads", self.downloads)
            .integer("purchases", self.purchases)
            .nested("revenue", |out| {
                for (index, (currency, amount)) in self.revenue.iter().enumerate() {
                    out.push(if index == 0 { b'{' } else { b',' });
                    out.extend_from_slice(format!("\"{currency}\":{amount}").as_bytes());
                }
                if self.revenue.is_empty() {
                    out.push(b'{');
                }
                out.push(b'}');
            })
            .integer("reviews", self.reviews)
            .integer("ratings", self.ratings)
            .nested("averageRating", |out| match self.average_rating {
                Some(average) => out.extend_from_slice(average.to_string().as_bytes()),
                None => out.extend_from_slice(b"null"),
            })
            .end();
    }
}

/// A member: its path for errors, its name, its other spelling.
type Name = (&'static str, &'static str, &'static str);

const AGGREGATION_TYPE: Name = ("aggregationType", "aggregationType", "aggregation_type");
const GENERATED_AT: Name = ("generatedAt", "generatedAt", "generated_at");
const DATA: Name = ("data", "data", "data");
const BOOK_ID: Name = ("data.bookId", "bookId", "book_id");
const BOOKS: Name = ("data.books", "books", "books");
const VIEWS: Name = ("data.views", "views", "views");
const DOWNLOADS: Name = ("data.downloads", "downloads", "downloads");
const PURCHASES: Name = ("data.purchases", "purchases", "purchases");
const REVENUE: Name = ("data.revenue", "revenue", "revenue");
const REVIEWS: Name = ("data.reviews", "reviews", "reviews");
const RATINGS: Name = ("data.ratings", "ratings", "ratings");
const AVERAGE_RATING: Name = ("data.averageRating", "averageRating", "average_rating");
const RANK: Name = ("data.rank", "rank", "rank");
const SCORE: Name = ("data.score", "score", "score");

/// Takes values apart and notes what is wrong.
#[derive(Default)]
struct Reader {
    errors: Vec<FieldError>,
}

impl Reader {
    fn wrong(&mut self, name: Name, problem: impl Into<std::borrow::Cow<'static, str>>) {
        self.errors.push(FieldError::new(name.0, problem));
    }

    /// The member in either spelling; null is none.
    fn find<'v>(&mut self, object: &'v Map<String, Value>, name: Name) -> Option<&'v Value> {
        let spelled = |name: &str| object.get(name).filter(|value| !value.is_null());
        match (spelled(name.1), spelled(name.2)) {
            (Some(one), Some(other)) if one != other => {
                self.wrong(name, format!("and {} have different values", name.2));
                None
            }
            (one, other) => one.or(other),
        }
    }

    fn of<'v>(&mut self, object: &'v Map<String, Value>, name: Name) -> Option<&'v Value> {
        let before = self.errors.len();
        let found = self.find(object, name);
        if found.is_none() && self.errors.len() == before {
            self.wrong(name, "is missing");
        }
        found
    }

    fn text<'v>(&mut self, object: &'v Map<String, Value>, name: Name) -> Option<&'v str> {
        let value = self.of(object, name)?;
        if value.as_str().is_none() {
            self.wrong(name, format!("must be a string, is {}", kind(value)));
        }
        value.as_str()
    }

    fn time(&mut self, object: &Map<String, Value>, name: Name) -> Option<i64> {
        let text = self.text(object, name)?;
        let time = chrono::DateTime::parse_from_rfc3339(text);
        if time.is_err() {
            self.wrong(name, "must be an RFC 3339 time");
        }
        time.ok().map(|time| time.timestamp_millis())
    }

    fn object<'v>(&mut self, data: &'v Value) -> Option<&'v Map<String, Value>> {
        if !data.is_object() {
            self.wrong(DATA, format!("must be an object, is {}", kind(data)));
        }
        data.as_object()
    }

    /// A whole number, `2.0` too, or its digits as a string.
    fn integer(&mut self, object: &Map<String, Value>, name: Name, least: i64) -> Option<i64> {
        let value = self.of(object, name)?;
        let number = match value {
            Value::String(digits) => digits.parse().ok(),
            value => value.as_i64().or_else(|| whole(value.as_f64()?)),
        };
        let number = number.filter(|number| *number >= least);
        if number.is_none() {
            self.wrong(name, format!("must be a whole number from {least} on"));
        }
        number
    }

    fn figures(&mut self, data: &Map<String, Value>) -> Option<Figures> {
        let views = self.integer(data, VIEWS, 0);
        let downloads = self.integer(data, DOWNLOADS, 0);
        let purchases = self.integer(data, PURCHASES, 0);
        let revenue = self.of(data, REVENUE).and_then(|value| self.revenue(value));
        let reviews = self.integer(data, REVIEWS, 0);
        let ratings = self.integer(data, RATINGS, 0);
        let average_rating = self.find(data, AVERAGE_RATING).and_then(|value| {
            let average = value.as_f64().and_then(Average::from_number);
            if average.is_none() {
                self.wrong(AVERAGE_RATING, "must be a number from 1 to 5");
            }
            average
        });
        Some(Figures {
            views: views?,
            downloads: downloads?,
            purchases: purchases?,
            revenue: revenue?,
            reviews: reviews?,
            ratings: ratings?,
            average_rating,
        })
    }

    fn revenue(&mut self, value: &Value) -> Option<BTreeMap<Currency, i64>> {
        let read = |(code, amount): (&String, &Value)| {
            let amount = amount.as_i64().filter(|amount| *amount >= 0)?;
            Some((Currency::parse(code)?, amount))
        };
        let revenue = value
            .as_object()
            .and_then(|amounts| amounts.iter().map(read).collect());
        if revenue.is_none() {
            self.wrong(
                REVENUE,
                "must be an object of whole numbers from 0 on by currency (ISO 4217)",
            );
        }
        revenue
    }

    fn popular(&mut self, data: &Value) -> Option<Vec<PopularBook>> {
        let Value::Array(lines) = data else {
            self.wrong(DATA, format!("must be an array, is {}", kind(data)));
            return None;
        };
        let mut books = Vec::with_capacity(lines.len());
        for line in lines {
            let Value::Object(line) = line else {
                self.wrong(DATA, format!("must hold objects, holds {}", kind(line)));
                return None;
            };
            let rank = self.integer(line, RANK, 1);
            let book_id = self.integer(line, BOOK_ID, 1);
            let score = self.integer(line, SCORE, 0);
            let views = self.integer(line, VIEWS, 0);
            let downloads = self.integer(line, DOWNLOADS, 0);
            let purchases = self.integer(line, PURCHASES, 0);
            // What is wrong with one line says enough of all.
            books.push(PopularBook {
                rank: rank?,
                book_id: book_id?,
                score: score?,
                views: views?,
                downloads: downloads?,
                purchases: purchases?,
            });
        }
        Some(books)
    }
}

/// The integer that a number of floating point is, as far as it holds integers exactly.
fn whole(number: f64) -> Option<i64> {
    let exact = 9_007_199_254_740_991.0;
    (number.fract() == 0.0 && number.abs() <= exact).then_some(number as i64)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
