use sql::{Row, Type};

use super::figures::{BookFigures, Figures, Generated, SystemFigures};

/// The columns that [`read_book`] expects, in their order.
pub(super) const BOOK_COLUMNS: &str = "book_id, generated_ms, partition_no, record_offset, views, \
                                       downloads, purchases, revenue, reviews, ratings, average_rating";

/// Their types.
pub(super) const BOOK_COLUMN_TYPES: [Type; 11] = {
    use Type::{Bigint, Double, Text};
    [
        Bigint, Bigint, Bigint, Bigint, Bigint, Bigint, Bigint, Text, Bigint, Bigint, Double,
    ]
};

pub(super) fn read_book(row: &Row) -> Result<BookFigures, sql::Error> {
    let revenue: String = row.get(7)?;
    Ok(BookFigures {
        book_id: row.get(0)?,
        generated: read_generated(row, 1)?,
        figures: Figures {
            views: row.get(4)?,
            downloads: row.get(5)?,
            purchases: row.get(6)?,
            revenue: serde_json::from_str(&revenue)
                .map_err(|error| sql::Error::Decode(error.into()))?,
            reviews: row.get(8)?,
            ratings: row.get(9)?,
            average_rating: row.get(10)?,
        },
    })
}

/// The columns that [`read_system`] expects, in their order.
pub(super) const SYSTEM_COLUMNS: &str = "generated_ms, partition_no, record_offset, data";

pub(super) fn read_system(row: &Row) -> Result<SystemFigures, sql::Error> {
    Ok(SystemFigures {
        generated: read_generated(row, 0)?,
        data: row.get(3)?,
    })
}

fn read_generated(row: &Row, first: usize) -> Result<Generated, sql::Error> {
    Ok(Generated {
        time: row.get(first)?,
        partition: row.get(first + 1)?,
        offset: row.get(first + 2)?,
    })
}
