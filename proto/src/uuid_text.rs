use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// A UUID as its 36 characters, on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UuidText([u8; Hyphenated::LENGTH]);

impl UuidText {
    /// Formats `id` in lower case with hyphens.
    pub fn new(id: Uuid) -> Self {
        let mut text = [0; Hyphenated::LENGTH];
        id.hyphenated().encode_lower(&mut text);
        Self(text)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        // Hexadecimal digits and hyphens are UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl From<Uuid> for UuidText {
    fn from(id: Uuid) -> Self {
        Self::new(id)
    }
}

impl std::ops::Deref for UuidText {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl std::fmt::Display for UuidText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

impl std::fmt::Debug for UuidText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_usual_text() {
        let id = Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(
            UuidText::new(id).as_str(),
            "01234567-89ab-cdef-0123-456789abcdef"
        );
    }
}
