use sqlx::Row;
use sqlx::any::AnyRow;

use super::figures::{BookFigures, Figures, Generated, SystemFigures};

/// The columns that [`read_book`] expects, in their order.
pub(super) const BOOK_COLUMNS: &str = "book_id, generated_ms, partition_no, record_offset, views, \
                                       downloads, purchases, revenue, reviews, ratings, average_rating";

/// How many there are.
pub(super) const BOOK_COLUMN_COUNT: usize = 11;

pub(super) fn read_book(row: &AnyRow) -> Result<BookFigures, sqlx::Error> {
    let revenue: String = row.try_get(7)?;
    Ok(BookFigures {
        book_id: row.try_get(0)?,
        generated: read_generated(row, 1)?,
        figures: Figures {
            views: row.try_get(4)?,
            downloads: row.try_get(5)?,
            purchases: row.try_get(6)?,
            revenue: serde_json::from_str(&revenue)
                .map_err(|error| sqlx::Error::Decode(error.into()))?,
            reviews: row.try_get(8)?,
            ratings: row.try_get(9)?,
            average_rating: row.try_get(10)?,
        },
    })
}

/// The columns that [`read_system`] expects, in their order.
pub(super) const SYSTEM_COLUMNS: &str = "generated_ms, partition_no, record_offset, data";

pub(super) fn read_system(row: &AnyRow) -> Result<SystemFigures, sqlx::Error> {
    Ok(SystemFigures {
        generated: read_generated(row, 0)?,
        data: row.try_get(3)?,
    })
}

fn read_generated(row: &AnyRow, first: usize) -> Result<Generated, sqlx::Error> {
    let partition: i64 = row.try_get(first + 1)?;
    Ok(Generated {
        time: row.try_get(first)?,
        partition: i32::try_from(partition).map_err(|error| sqlx::Error::Decode(error.into()))?,
        offset: row.try_get(first + 2)?,
    })
}
