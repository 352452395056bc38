use std::collections::BTreeMap;

use proto::Rfc3339;
use serde::{Deserialize, Serialize, Serializer};

/// When an aggregate was made, and where it lies: of two the greater is the newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generated {
    /// Milliseconds since 1970.
    pub(super) time: i64,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// What events came to, as it is answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    pub(super) views: i64,
    pub(super) downloads: i64,
    pub(super) purchases: i64,
    /// Minor units by currency.
    pub(super) revenue: BTreeMap<String, i64>,
    pub(super) reviews: i64,
    pub(super) ratings: i64,
    pub(super) average_rating: Option<f64>,
}

/// The figures of one book.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BookFigures {
    pub(super) book_id: i64,
    #[serde(rename = "generatedAt", serialize_with = "as_time")]
    pub(super) generated: Generated,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

/// An aggregate of the whole bookstore; `data` is JSON, an [`Overview`] or [`PopularBook`]s.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SystemFigures {
    pub(super) generated: Generated,
    pub(super) data: String,
}

/// The sums over all books.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Overview {
    pub(super) books: i64,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PopularBook {
    pub(super) rank: i64,
    pub(super) book_id: i64,
    pub(super) score: i64,
    pub(super) views: i64,
    pub(super) downloads: i64,
    pub(super) purchases: i64,
}

fn as_time<S: Serializer>(generated: &Generated, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&Rfc3339::from_millis(generated.time))
}

impl From<proto::Figures> for Figures {
    fn from(figures: proto::Figures) -> Self {
        let average = figures.average_rating;
        let revenue = figures.revenue.into_iter();
        Self {
            views: figures.views,
            downloads: figures.downloads,
            purchases: figures.purchases,
            revenue: revenue
                .map(|(currency, amount)| (currency.to_string(), amount))
                .collect(),
            reviews: figures.reviews,
            ratings: figures.ratings,
            average_rating: average.map(|average| f64::from(average.hundredths()) / 100.0),
        }
    }
}

impl From<proto::PopularBook> for PopularBook {
    fn from(book: proto::PopularBook) -> Self {
        Self {
            rank: book.rank,
            book_id: book.book_id,
            score: book.score,
            views: book.views,
            downloads: book.downloads,
            purchases: book.purchases,
        }
    }
}
