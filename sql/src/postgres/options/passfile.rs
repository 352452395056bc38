//! Passwords in a file (`PGPASSFILE`, else `~/.pgpass`), where the URL has none: a line each,
//! `HOST:PORT:DATABASE:USER:PASSWORD`, with `*` for any.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Who wants a password, field by field as in a line.
pub(super) type Login<'a> = [&'a str; 4];

/// The password of the first line that fits. A file that cannot be read has none; neither has one that others than its
/// owner may read, as with libpq.
pub(super) fn password(file: &Path, login: Login<'_>) -> Option<String> {
    let shown = file.display();
    let mut opened = File::open(file)
        .inspect_err(|error| tracing::debug!("{shown}: no passwords: {error}"))
        .ok()?;
    let mode = opened.metadata().ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            "{shown} is passed over: others may read the passwords; set its mode to 0600"
        );
        return None;
    }
    let mut text = String::new();
    opened
        .read_to_string(&mut text)
        .inspect_err(|error| tracing::warn!("{shown}: no passwords: {error}"))
        .ok()?;
    text.lines().find_map(|line| password_in(line, login))
}

fn password_in(line: &str, login: Login<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut rest = line;
    for wanted in login {
        let (field, after) = split_field(rest)?;
        if field != "*" && unescaped(field) != wanted {
            return None;
        }
        rest = after;
    }
    Some(unescaped(rest))
}

/// At the first colon that has no backslash in front.
fn split_field(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            ':' if !escaped => return Some((&text[..index], &text[index + 1..])),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

fn unescaped(field: &str) -> String {
    let mut plain = String::with_capacity(field.len());
    let mut rest = field.chars();
    while let Some(c) = rest.next() {
        plain.extend(if c == '\\' { rest.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    const LOGIN: Login<'_> = ["db", "5432", "shop", "me"];

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        for (line, expected) in [
            ("db:5432:shop:me:secret", Some("secret")),
            ("*:*:*:*:secret", Some("secret")),
            (r"db:5432:shop:me:a\:b\\c:d", Some(r"a:b\c:d")),
            (r"d\b:5432:shop:me:secret", Some("secret")),
            ("#db:5432:shop:me:secret", None),
            ("db:5433:shop:me:secret", None),
            ("db:5432:shop:you:secret", None),
            (r"\*:5432:shop:me:secret", None),
            ("db:5432:shop:me", None),
            ("", None),
        ] {
            assert_eq!(password_in(line, LOGIN).as_deref(), expected, "{line}");
        }
        let address = ["::1", "5432", "shop", "me"];
        let found = password_in(r"\:\:1:5432:*:*:secret", address);
        assert_eq!(found.as_deref(), Some("secret"));
    }

    #[test]
    fn a_file_that_others_may_read_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwords");
        assert_eq!(password(&file, LOGIN), None);
        fs::write(&file, "other:*:*:*:wrong\ndb:*:*:*:secret\n*:*:*:*:later\n").unwrap();
        for (mode, expected) in [(0o600, Some("secret")), (0o640, None)] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            assert_eq!(password(&file, LOGIN).as_deref(), expected);
        }
    }
}
