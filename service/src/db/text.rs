use std::borrow::Cow;

/// Longest text that is looked up by, in bytes: PostgreSQL refuses a row of an index beyond 2,704,
/// and there may be other columns in it.
const MAX_KEY: usize = 2_000;

/// Text from elsewhere as every database holds it. PostgreSQL's has no NUL, so a visible stand-in is
/// stored.
pub fn storable(text: Cow<'_, str>) -> String {
    if text.contains('\0') {
        text.replace('\0', "\u{fffd}")
    } else {
        text.into_owned()
    }
}

/// Like [`storable`], for text that is looked up by: cut where an index would refuse it. What is
/// asked for goes through here, too.
pub fn storable_key(text: Cow<'_, str>) -> String {
    let mut text = storable(text);
    text.truncate(text.floor_char_boundary(MAX_KEY));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_text_is_stored_alike_everywhere() {
        assert_eq!(storable("a\0b".into()), "a\u{fffd}b");
        assert_eq!(storable("ё".repeat(5_000).into()).len(), 10_000);
        assert_eq!(storable_key("user789".into()), "user789");
        let long = storable_key(format!("a{}", "ё".repeat(5_000)).into());
        assert_eq!(long.len(), MAX_KEY - 1, "cut between characters");
    }
}
