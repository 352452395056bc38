/// Languages the services answer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The default of the contract.
    Russian,
    English,
}

/// The language an `Accept-Language` header (RFC 9110, 12.5.4) prefers: the range with the highest
/// weight among `ru`, `en` and `*`; a tie goes to the one named first. `*` and everything
/// unreadable mean the default, Russian.
pub fn preferred(accept_language: Option<&str>) -> Language {
    let Some(header) = accept_language else {
        return Language::Russian;
    };
    let mut best = (0.0, Language::Russian);
    for range in header.split(',') {
        let mut parts = range.split(';');
        let tag = parts.next().unwrap_or_default().trim();
        let primary = tag.split('-').next().unwrap_or_default();
        let language = if primary.eq_ignore_ascii_case("en") {
            Language::English
        } else if primary.eq_ignore_ascii_case("ru") || primary == "*" {
            Language::Russian
        } else {
            continue;
        };
        let weight = parts
            .find_map(|part| part.trim().strip_prefix("q="))
            .map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
        if weight > best.0 {
            best = (weight, language);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_decide() {
        assert_eq!(preferred(None), Language::Russian);
        assert_eq!(preferred(Some("en")), Language::English);
        assert_eq!(preferred(Some("en-GB,en;q=0.9")), Language::English);
        assert_eq!(preferred(Some("de, en;q=0.5, ru;q=0.7")), Language::Russian);
        assert_eq!(preferred(Some("ru;q=0.3, en;q=0.7")), Language::English);
        assert_eq!(preferred(Some("en;q=0, *")), Language::Russian);
        assert_eq!(preferred(Some("english please")), Language::Russian);
        assert_eq!(preferred(Some("de")), Language::Russian);
    }
}
