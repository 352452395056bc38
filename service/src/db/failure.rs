/// Whether the database, not what was to be written, is at fault: away, overloaded, locked, full,
/// read-only, without its schema; or this instance's configuration, which an operator mends. What failed may succeed later,
/// unchanged.
///
/// An error that is not known to blame the data counts as the database's: waiting can be seen and
/// ended by an operator, records thrown away for nothing cannot.
pub fn is_unavailable(error: &sql::Error) -> bool {
    match error {
        sql::Error::Io(_)
        | sql::Error::Tls(_)
        | sql::Error::Configuration(_)
        | sql::Error::Protocol(_)
        | sql::Error::PoolTimedOut
        | sql::Error::PoolClosed => true,
        sql::Error::Database(error) => !blames_the_data(&error.code),
        _ => false,
    }
}

/// Whether another transaction was in the way, and the same one may succeed at once: SQLSTATE class
/// 40, such as a deadlock (40P01), which PostgreSQL ends by taking one of the two.
pub(super) fn is_conflict(error: &sql::Error) -> bool {
    matches!(error, sql::Error::Database(error) if error.code.len() == 5 && error.code.starts_with("40"))
}

/// Whether the database refuses this instance's configuration, so that only an operator can help: a
/// wrong user or password, an unknown database, encryption that is demanded, missing rights, a file
/// that is no database.
///
/// PostgreSQL: SQLSTATE class 28 invalid authorization (28P01 wrong password; 28000 no entry in
/// `pg_hba.conf`, which is also how a server without plain connections answers), 3D000 unknown database,
/// 42501 insufficient privilege. SQLite: the primary result codes PERM 3, AUTH 23, NOTADB 26.
pub(super) fn is_refusal(error: &sql::Error) -> bool {
    match error {
        sql::Error::Configuration(_) | sql::Error::Tls(_) => true,
        sql::Error::Database(error) => refuses(&error.code),
        _ => false,
    }
}

fn refuses(code: &str) -> bool {
    if code.len() == 5 {
        return code.starts_with("28") || ["3D000", "42501"].contains(&code);
    }
    code.parse::<u32>()
        .is_ok_and(|code| [3, 23, 26].contains(&(code & 0xff)))
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
        assert!(is_unavailable(&sql::Error::PoolTimedOut));
        // A server that now asks for a password, which the URL has not.
        let refused = sql::Error::Configuration("password: is missing".to_owned());
        assert!(is_unavailable(&refused) && is_refusal(&refused));
        assert!(!is_unavailable(&sql::Error::RowNotFound));
    }

    #[test]
    fn what_an_operator_has_to_change_is_a_refusal() {
        for code in ["28P01", "28000", "3D000", "42501", "26", "23"] {
            assert!(refuses(code), "{code}");
        }
        // Starting up, shutting down, too many connections, read-only, full, locked, cannot open.
        for code in [
            "57P03", "57P01", "53300", "25006", "53100", "5", "13", "14", "10",
        ] {
            assert!(!refuses(code), "{code}");
        }
        assert!(!is_refusal(&sql::Error::PoolTimedOut));
    }
}
