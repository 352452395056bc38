use std::fmt;

/// A currency's code of ISO 4217: three letters, upper case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Three ASCII letters in either case. Whether such a currency exists is not asked: the list changes.
    pub fn parse(code: &str) -> Option<Self> {
        let mut code: [u8; 3] = code.as_bytes().try_into().ok()?;
        code.make_ascii_uppercase();
        code.iter()
            .all(u8::is_ascii_uppercase)
            .then_some(Self(code))
    }

    pub fn as_str(&self) -> &str {
        // Letters are UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_letters_in_either_case() {
        assert_eq!(Currency::parse("rUb").unwrap().as_str(), "RUB");
        for wrong in ["", "RU", "RUBL", "R1B", "Р", "€", "R B"] {
            assert_eq!(Currency::parse(wrong), None, "{wrong}");
        }
    }
}
