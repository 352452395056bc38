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
}
