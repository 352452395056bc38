//! What an e-mail address may be: enough of RFC 5321 to refuse what nobody can write to.

use crate::order_id;

/// The longest address (RFC 5321, 4.5.3.1.3: a path of 256 with its brackets), and its parts.
const MAX_BYTES: usize = 254;
const MAX_LOCAL: usize = 64;
const MAX_LABEL: usize = 63;

/// Whether `text` is `local@domain` with a domain of labels. International characters are welcome
/// on both sides (RFC 6531); quoted local parts and address literals are not.
pub(crate) fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    text.len() <= MAX_BYTES && is_local(local) && is_domain(domain)
}

fn is_local(local: &str) -> bool {
    let allowed = |c: char| {
        c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || (!c.is_ascii() && is_mark(c))
    };
    (1..=MAX_LOCAL).contains(&local.len())
        && local.chars().all(allowed)
        && local.split('.').all(|atom| !atom.is_empty())
}

fn is_domain(domain: &str) -> bool {
    let allowed = |c: char| c.is_alphanumeric() || c == '-' || (!c.is_ascii() && is_mark(c));
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.chars().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.split('.').all(label)
}

/// Letters of some scripts are written with combining marks, which are not alphanumeric. Nothing that
/// leaves no mark: two addresses that look the same would be two users.
fn is_mark(c: char) -> bool {
    order_id::is_printable(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_what_is_none() {
        let longest = format!("{}@{}.example", "a".repeat(64), "b".repeat(63));
        for good in [
            "a@b",
            "user@example.com",
            "first.last+tag@sub.example.co",
            "иван@почта.рф",
            "o'neil@x-y.org",
            &longest,
        ] {
            assert!(is_address(good), "{good}");
        }
        let long = format!("{}@b", "a".repeat(65));
        let label = format!("a@{}", "b".repeat(64));
        let whole = format!("a@{}", vec!["b".repeat(60); 5].join("."));
        for bad in [
            "",
            "a",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a@b c",
            "a@.b",
            "a@b.",
            "a@-b",
            "a@b-",
            ".a@b",
            "a.@b",
            "a..b@c",
            "a\n@b",
            "a@b\0",
            "anna\u{200b}@b",
            "\"a\"@b",
            "a@[127.0.0.1]",
            "a,b@c",
            &long,
            &label,
            &whole,
        ] {
            assert!(!is_address(bad), "{bad:?}");
        }
    }
}
