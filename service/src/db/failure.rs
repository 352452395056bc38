/// Whether the database, not the statement, is at fault: away, overloaded, locked, full. What
/// failed may succeed later, unchanged.
pub fn is_unavailable(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient(&code)),
        _ => false,
    }
}

/// PostgreSQL: SQLSTATE classes 08 connection, 25006 read-only transaction, 40 serialization and
/// deadlock, 53 resources, 55 not in the right state, 57 operator intervention, 58 system.
/// SQLite: the primary result code (low byte) of BUSY 5, LOCKED 6, NOMEM 7, READONLY 8, IOERR 10,
/// FULL 13, CANTOPEN 14, PROTOCOL 15.
fn is_transient(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "40", "53", "55", "57", "58"].contains(&&code[..2]) || code == "25006";
    }
    code.parse::<u32>()
        .is_ok_and(|code| [5, 6, 7, 8, 10, 13, 14, 15].contains(&(code & 0xff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_database_are_told_from_faults_of_the_statement() {
        for code in [
            "08006", "53300", "57P01", "40001", "25006", "5", "261", "13", "14", "1546",
        ] {
            assert!(is_transient(code), "{code}");
        }
        for code in ["23505", "22021", "42P01", "19", "2067", "1", "1555"] {
            assert!(!is_transient(code), "{code}");
        }
        assert!(is_unavailable(&sqlx::Error::PoolTimedOut));
        assert!(!is_unavailable(&sqlx::Error::RowNotFound));
    }
}
