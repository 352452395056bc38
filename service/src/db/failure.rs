/// Whether the database, not what was to be written, is at fault: away, overloaded, locked, full,
/// read-only, without its schema. What failed may succeed later, unchanged.
///
/// An error that is not known to blame the data counts as the database's: waiting can be seen and
/// ended by an operator, records thrown away for nothing cannot.
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => !error.code().is_some_and(|code| blames_the_data(&code)),
        _ => false,
    }
}

/// Whether another transaction was in the way, and the same one may succeed at once: SQLSTATE class
/// 40, such as a deadlock (40P01), which PostgreSQL ends by taking one of the two.
pub(super) fn is_conflict(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.len() == 5 && code.starts_with("40"))
}

/// PostgreSQL: SQLSTATE classes 22 data exception, 23 constraint, 54 beyond a limit of the program
/// (such as the size of an index row). SQLite: the primary result code (low byte) of TOOBIG 18,
/// CONSTRAINT 19, MISMATCH 20.
fn blames_the_data(code: &str) -> bool {
    if code.len() == 5 {
        return ["22", "23", "54"].contains(&&code[..2]);
    }
    code.parse::<u32>()
        .is_ok_and(|code| [18, 19, 20].contains(&(code & 0xff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_blames_the_data_is_the_datas_fault() {
        for code in ["23505", "22021", "54000", "19", "2067", "1555", "18"] {
            assert!(blames_the_data(code), "{code}");
        }
        // Away, full, read-only, no schema, no role, out of order; then SQLite's.
        for code in [
            "08006", "53300", "57P01", "40001", "25006", "42P01", "28P01", "3D000", "XX000",
        ] {
            assert!(!blames_the_data(code), "{code}");
        }
        for code in ["1", "5", "261", "8", "13", "14", "778", "1546", "11", "26"] {
            assert!(!blames_the_data(code), "{code}");
        }
        assert!(is_unavailable(&sqlx::Error::PoolTimedOut));
        assert!(!is_unavailable(&sqlx::Error::RowNotFound));
    }
}
