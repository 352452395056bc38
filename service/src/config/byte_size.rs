use super::value::Value;

/// `65536`, `64KiB`, `32MiB`, `1GiB`.
pub(super) struct ByteSize(pub(super) usize);

impl Value for ByteSize {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = "must be a number of bytes such as 65536, 64KiB or 32MiB";
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let number: usize = number.parse().map_err(|_| expected)?;
        let scale = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(expected.to_owned()),
        };
        match number.checked_mul(scale) {
            Some(bytes) if bytes > 0 => Ok(Self(bytes)),
            _ => Err(expected.to_owned()),
        }
    }
}
