use std::borrow::Cow;

use service::http::{Problem, Query};

use super::figures::BookFigures;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

/// Which books are listed, and in which order; books of equal figures by their ids.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BooksPage {
    sort: Sort,
    descending: bool,
    limit: u32,
    pub(super) after: Option<Place>,
}

/// What books are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    BookId,
    Views,
    Downloads,
    Purchases,
    Reviews,
    Ratings,
    AverageRating,
    GeneratedAt,
}

/// A place between two books of a sorted list: behind the one with these figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// Of the column that is sorted by. Counts are far below 2^53, so that a double holds them.
    pub(super) value: f64,
    pub(super) book_id: i64,
}

impl Sort {
    const ALL: [Self; 8] = [
        Self::BookId,
        Self::Views,
        Self::Downloads,
        Self::Purchases,
        Self::Reviews,
        Self::Ratings,
        Self::AverageRating,
        Self::GeneratedAt,
    ];

    /// As the answer calls the member.
    fn name(self) -> &'static str {
        match self {
            Self::BookId => "bookId",
            Self::Views => "views",
            Self::Downloads => "downloads",
            Self::Purchases => "purchases",
            Self::Reviews => "reviews",
            Self::Ratings => "ratings",
            Self::AverageRating => "averageRating",
            Self::GeneratedAt => "generatedAt",
        }
    }

    /// A book that nobody has rated is below all others.
    fn column(self) -> &'static str {
        match self {
            Self::BookId => "book_id",
            Self::Views => "views",
            Self::Downloads => "downloads",
            Self::Purchases => "purchases",
            Self::Reviews => "reviews",
            Self::Ratings => "ratings",
            Self::AverageRating => "COALESCE(average_rating, 0)",
            Self::GeneratedAt => "generated_ms",
        }
    }

    fn of(self, book: &BookFigures) -> f64 {
        let figures = &book.figures;
        match self {
            Self::BookId => book.book_id as f64,
            Self::Views => figures.views as f64,
            Self::Downloads => figures.downloads as f64,
            Self::Purchases => figures.purchases as f64,
            Self::Reviews => figures.reviews as f64,
            Self::Ratings => figures.ratings as f64,
            Self::AverageRating => figures.average_rating.unwrap_or(0.0),
            Self::GeneratedAt => book.generated.time as f64,
        }
    }

    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let found = Self::ALL.into_iter().find(|sort| sort.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("must be one of {names}").into()
        })
    }
}

impl BooksPage {
    /// `sort`, `order`, `limit` and `after` of a request.
    ///
    /// # Errors
    /// 422 with all that are wrong.
    pub(super) fn read(mut query: Query) -> Result<Self, Problem> {
        let sort = query.get("sort", Sort::parse).unwrap_or(Sort::BookId);
        let descending = query.get("order", |text| match text {
            "asc" => Ok(false),
            "desc" => Ok(true),
            _ => Err("must be asc or desc".into()),
        });
        let page = Self {
            sort,
            // Who sorts by a figure wants the greatest.
            descending: descending.unwrap_or(sort != Sort::BookId),
            limit: query.limit(DEFAULT_LIMIT, MAX_LIMIT),
            after: query.get("after", Place::parse),
        };
        query.finish()?;
        Ok(page)
    }

    /// By the id alone, which a double need not hold.
    pub(super) fn is_by_id(&self) -> bool {
        self.sort == Sort::BookId
    }

    /// The query; to be bound to [`BooksPage::rows`], then the id and, unless it is by the id, the value
    /// of [`BooksPage::after`].
    pub(super) fn sql(&self, columns: &str) -> String {
        let column = self.sort.column();
        let (beyond, direction) = match self.descending {
            true => ("<", "DESC"),
            false => (">", "ASC"),
        };
        let behind = match self.after {
            None => String::new(),
            Some(_) if self.is_by_id() => format!("WHERE book_id {beyond} $2 "),
            Some(_) => format!("WHERE {column} {beyond} $3 OR ({column} = $3 AND book_id > $2) "),
        };
        format!(
            "SELECT {columns} FROM book_analytics_newest {behind}\
             ORDER BY {column} {direction}, book_id LIMIT $1"
        )
    }

    /// One more than the page has, so that it is seen whether there is a next.
    pub(super) fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Cuts `books`, the rows of [`BooksPage::sql`], down to the page; the `after` of the next one,
    /// where there is one.
    pub(super) fn cut(&self, books: &mut Vec<BookFigures>) -> Option<String> {
        let limit = self.limit as usize;
        if books.len() <= limit {
            return None;
        }
        books.truncate(limit);
        let last = books.last()?;
        Some(format!("{}_{}", self.sort.of(last), last.book_id))
    }
}

impl Place {
    fn parse(text: &str) -> Result<Self, Cow<'static, str>> {
        let place = text.split_once('_').and_then(|(value, book_id)| {
            let value: f64 = value.parse().ok()?;
            Some(Self {
                value: Some(value).filter(|value| value.is_finite())?,
                book_id: book_id.parse().ok()?,
            })
        });
        place.ok_or_else(|| "must be the next of an earlier answer".into())
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Figures, Generated};
    use super::*;

    fn read(text: &str) -> Result<BooksPage, Problem> {
        BooksPage::read(Query::read(text))
    }

    fn book(book_id: i64, average_rating: Option<f64>) -> BookFigures {
        BookFigures {
            book_id,
            generated: Generated {
                time: 5,
                partition: 0,
                offset: 0,
            },
            figures: Figures {
                average_rating,
                ..Figures::default()
            },
        }
    }

    #[test]
    fn figures_are_sorted_from_the_greatest_and_ids_from_the_least() {
        assert!(!read("").unwrap().descending);
        assert!(read("sort=views").unwrap().descending);
        assert!(!read("sort=views&order=asc").unwrap().descending);
    }

    #[test]
    fn all_that_is_wrong_is_named() {
        let problem = read("sort=price&order=up&limit=501&after=7").unwrap_err();
        let problem = format!("{problem:?}");
        for name in ["\"sort\"", "\"order\"", "\"limit\"", "\"after\""] {
            assert!(problem.contains(name), "{problem}");
        }
        for after in ["_", "1_", "_1", "NaN_1", "inf_1", "1_x", "1_1_1"] {
            assert!(read(&format!("after={after}")).is_err(), "{after}");
        }
    }

    #[test]
    fn the_next_page_begins_behind_the_last_book() {
        let page = read("sort=averageRating&limit=2").unwrap();
        let third = 14.0 / 3.0;
        let mut books = vec![book(9, None), book(3, Some(third)), book(4, None)];
        let next = page.cut(&mut books).unwrap();
        assert_eq!(books.len(), 2);
        let page = read(&format!("sort=averageRating&limit=2&after={next}")).unwrap();
        let place = Place {
            value: third,
            book_id: 3,
        };
        assert_eq!(page.after, Some(place));
        let mut last = vec![book(4, None), book(9, None)];
        assert_eq!(page.cut(&mut last), None);
        assert_eq!(last.len(), 2);
    }
}
