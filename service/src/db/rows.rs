//! Texts of statements that write or look up many rows.

use std::fmt::Write;

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

/// How many of `len` rows (1 or more) to put into one statement: the largest power of two up to
/// 128. So there is a handful of statements to prepare, whatever the batches' sizes, each far from
/// the limit of 32,766 parameters (SQLite).
pub fn chunk_size(len: usize) -> usize {
    1 << len.min(128).ilog2()
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
        let sizes: Vec<usize> = [1, 2, 3, 127, 128, 500].map(chunk_size).to_vec();
        assert_eq!(sizes, [1, 2, 2, 64, 128, 128]);
    }
}
