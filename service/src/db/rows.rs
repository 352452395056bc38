//! Texts of statements that write or look up many rows.

use std::fmt::Write;

use sqlx::AnyConnection;

/// `($1, $2), ($3, $4)` for two rows of two columns.
pub fn placeholders(rows: usize, columns: usize) -> String {
    let mut text = String::new();
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            let comma = if column == 1 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}${}", row * columns + column);
        }
        text.push(')');
    }
    text
}

/// Most rows of one statement with about ten columns, on the database of this connection; a power of two.
///
/// A statement costs PostgreSQL's answer, so it takes 512 rows. SQLite is in this process and answers at once, but there a
/// statement's time grows with the square of its parameters: sqlx asks the name of each one, and SQLite walks its list of
/// names for the answer. So it takes 32.
pub fn statement_rows(connection: &AnyConnection) -> usize {
    match connection.backend_name() {
        "SQLite" => 32,
        _ => 512,
    }
}

/// Up to the next power of two by repeating the last one: a handful of statements to prepare,
/// whatever the batches' sizes. For statements that take a row twice without harm; of a thousand rows
/// with ten columns each at most, since SQLite takes 32,766 parameters.
pub fn filled_up<T: Copy>(some: &[T]) -> Vec<T> {
    let mut all = some.to_vec();
    if let Some(last) = some.last() {
        all.resize(some.len().next_power_of_two(), *last);
    }
    all
}

/// `all` in pieces whose lengths are powers of two, `most` (one as well) at most: as few statements
/// to prepare, where a row must not be taken twice.
pub fn powers_of_two<T>(all: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    debug_assert!(most.is_power_of_two());
    let mut rest = all;
    std::iter::from_fn(move || {
        let length = 1 << rest.len().min(most).checked_ilog2()?;
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_numbered_through() {
        assert_eq!(placeholders(2, 3), "($1, $2, $3), ($4, $5, $6)");
        assert_eq!(placeholders(1, 1), "($1)");
    }

    #[test]
    fn statements_come_in_few_sizes() {
        assert_eq!(filled_up(&[1, 2, 3, 4, 5]), [1, 2, 3, 4, 5, 5, 5, 5]);
        assert_eq!(filled_up(&[7]), [7]);
        assert!(filled_up::<u8>(&[]).is_empty());
    }

    #[test]
    fn pieces_are_powers_of_two_and_make_up_the_whole() {
        let all: Vec<u32> = (0..23).collect();
        let pieces: Vec<&[u32]> = powers_of_two(&all, 8).collect();
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
        assert_eq!(lengths, [8, 8, 4, 2, 1]);
        assert_eq!(pieces.concat(), all);
        assert_eq!(powers_of_two::<u32>(&[], 8).count(), 0);
    }
}
