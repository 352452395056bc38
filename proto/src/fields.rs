//! Reads the few fields of ours out of a JSON object, borrowing from its bytes.
//!
//! Every event names its fields in a table, each with all its spellings. The object is walked once;
//! a wrong type does not end the walk, so that all wrong fields can be named. Null counts as absent.
//!
//! Two kinds of reader use it. Requests are strict: an integer is an integer. Records of other systems are taken as
//! these write them: a whole number may be `2.0` or `"2"` ([`Fields::whole`]), words may be in any case, and what is
//! ill-formed in a field that no reader here needs counts as absent ([`Fields::time`], [`Fields::remark`]).

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::amount::{self, Amounts};
use crate::error::{DecodeError, FieldError, FieldErrors};
use crate::{Spelling, order_id};

/// In UTF-8; what .NET and some editors put before a text.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The spellings of one field.
pub(crate) struct Names {
    pub(crate) camel: &'static str,
    pub(crate) snake: &'static str,
}

/// A field that is spelled the same everywhere.
pub(crate) const fn same(name: &'static str) -> Names {
    Names {
        camel: name,
        snake: name,
    }
}

/// A field with two spellings.
pub(crate) const fn either(camel: &'static str, snake: &'static str) -> Names {
    Names { camel, snake }
}

/// The fields of one object, and what was found wrong with them so far.
pub(crate) struct Fields<'a, const N: usize> {
    found: [Found<'a>; N],
    names: &'static [Names; N],
    missing_as: Spelling,
    errors: Vec<FieldError>,
}

#[derive(Default)]
struct Found<'a> {
    value: Value<'a>,
    /// As the sender spelled it.
    name: &'static str,
    /// The spelling that came later with another value.
    clash: Option<&'static str>,
}

#[derive(Default, PartialEq)]
enum Value<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Unsigned(u64),
    Negative(i64),
    /// A number with a fraction or an exponent, or one beyond 64 bits.
    Fraction(f64),
    Other(&'static str),
}

/// The numbers that 64-bit floating point holds exactly: up to 2^53 - 1 in size.
const EXACT: f64 = 9_007_199_254_740_991.0;

impl Value<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Value::Absent => "absent",
            Value::Text(_) => "a string",
            Value::Unsigned(_) | Value::Negative(_) => "an integer",
            Value::Fraction(_) => "a number with a fraction or beyond 64 bits",
            Value::Other(kind) => kind,
        }
    }

    /// `7.0` and `1e2` as integers. Numbers beyond 64 bits are not among them: they have lost digits.
    fn unfractioned(self) -> Self {
        match self {
            Value::Fraction(number) if number.fract() == 0.0 && number.abs() <= EXACT => {
                match number as i64 {
                    number @ ..0 => Value::Negative(number),
                    number => Value::Unsigned(number.unsigned_abs()),
                }
            }
            other => other,
        }
    }

    /// Equal as a reader takes them: an id may be a string in one spelling, a number in the other.
    fn agrees(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Value::Fraction(number), other) | (other, Value::Fraction(number)) => {
                match Value::Fraction(*number).unfractioned() {
                    Value::Fraction(_) => self == other,
                    whole => whole.agrees(other),
                }
            }
            (Value::Text(text), Value::Unsigned(number))
            | (Value::Unsigned(number), Value::Text(text)) => **text == number.to_string(),
            (Value::Text(text), Value::Negative(number))
            | (Value::Negative(number), Value::Text(text)) => **text == number.to_string(),
            // What is no scalar is refused by its type; it is not compared.
            _ => self == other,
        }
    }
}

impl<'a, const N: usize> Fields<'a, N> {
    /// Walks `value`. Fields that turn out to be missing are called as `missing_as` spells them.
    pub(crate) fn read(
        value: &'a [u8],
        names: &'static [Names; N],
        missing_as: Spelling,
    ) -> Result<Self, DecodeError> {
        let value = value.strip_prefix(BYTE_ORDER_MARK).unwrap_or(value);
        let first = value.iter().copied().find(|b| !b.is_ascii_whitespace());
        let Some(first) = first else {
            return Err(DecodeError::Empty);
        };
        let mut json = serde_json::Deserializer::from_slice(value);
        let not_json = |error: serde_json::Error| DecodeError::NotJson(error.to_string());
        if first != b'{' {
            // Whole, so that "no object" is said of JSON alone.
            let kind = Value::deserialize(&mut json).map_err(not_json)?.kind();
            json.end().map_err(not_json)?;
            return Err(DecodeError::NotObject(match kind {
                "absent" => "null",
                kind => kind,
            }));
        }
        let found = json.deserialize_map(Walk { names }).map_err(not_json)?;
        json.end().map_err(not_json)?;
        let mut errors = Vec::new();
        for field in &found {
            if let Some(clash) = field.clash {
                errors.push(FieldError::new(
                    field.name,
                    if clash == field.name {
                        "is given twice with different values".to_owned()
                    } else {
                        format!("and {clash} have different values")
                    },
                ));
            }
        }
        Ok(Self {
            found,
            names,
            missing_as,
            errors,
        })
    }

    /// Notes a problem with field `index`, under the sender's spelling if it was sent.
    pub(crate) fn wrong(&mut self, index: usize, problem: impl Into<Cow<'static, str>>) {
        let name = match (self.found[index].name, self.missing_as) {
            ("", Spelling::Camel) => self.names[index].camel,
            ("", Spelling::Snake) => self.names[index].snake,
            (name, _) => name,
        };
        self.errors.push(FieldError::new(name, problem));
    }

    /// Notes the field as missing if `value` is none and nothing else is wrong with it.
    pub(crate) fn required<T>(&mut self, index: usize, value: Option<T>) -> Option<T> {
        if value.is_none() && self.found[index].name.is_empty() {
            self.wrong(index, "is missing");
        }
        value
    }

    fn take(&mut self, index: usize) -> Value<'a> {
        std::mem::take(&mut self.found[index].value)
    }

    fn ill_typed(&mut self, index: usize, expected: &str, value: &Value<'_>) {
        self.wrong(index, format!("must be {expected}, is {}", value.kind()));
    }

    /// An identifier: a string, or a whole number taken as its digits.
    pub(crate) fn id(&mut self, index: usize) -> Option<Cow<'a, str>> {
        match self.take(index).unfractioned() {
            Value::Absent => None,
            Value::Text(text) => Some(text),
            Value::Unsigned(number) => Some(Cow::Owned(number.to_string())),
            Value::Negative(number) => Some(Cow::Owned(number.to_string())),
            other => {
                self.ill_typed(index, "a string or an integer", &other);
                None
            }
        }
    }

    /// An identifier that is a number from 1 on, or its digits as a string.
    pub(crate) fn number_id(&mut self, index: usize) -> Option<i64> {
        let text = self.id(index)?;
        let number = text.parse().ok().filter(|number| *number > 0);
        if number.is_none() {
            self.wrong(index, "must be a whole number from 1 on");
        }
        number
    }

    /// An identifier that is one to 128 printable characters.
    pub(crate) fn order_id(&mut self, index: usize) -> Option<Cow<'a, str>> {
        let id = self.id(index)?;
        match order_id::check(&id) {
            Ok(()) => Some(id),
            Err(problem) => {
                self.wrong(index, problem.to_string());
                None
            }
        }
    }

    pub(crate) fn text(&mut self, index: usize) -> Option<Cow<'a, str>> {
        match self.take(index) {
            Value::Absent => None,
            Value::Text(text) => Some(text),
            other => {
                self.ill_typed(index, "a string", &other);
                None
            }
        }
    }

    pub(crate) fn non_empty_text(&mut self, index: usize) -> Option<Cow<'a, str>> {
        let text = self.text(index)?;
        if text.trim().is_empty() {
            self.wrong(index, "must not be empty");
            return None;
        }
        Some(text)
    }

    /// A word: 1 to 128 printable characters. Whoever reads it compares without regard to case.
    pub(crate) fn word(&mut self, index: usize) -> Option<Cow<'a, str>> {
        let text = self.text(index)?;
        match order_id::check(&text) {
            Ok(()) => Some(text),
            Err(problem) => {
                self.wrong(index, problem.to_string());
                None
            }
        }
    }

    /// An identifier that nobody needs here: one that is not 1 to 128 printable characters counts as absent.
    pub(crate) fn id_if_fine(&mut self, index: usize) -> Option<Cow<'a, str>> {
        match self.take(index).unfractioned() {
            Value::Text(text) if order_id::check(&text).is_ok() => Some(text),
            Value::Unsigned(number) => Some(Cow::Owned(number.to_string())),
            Value::Negative(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }

    /// Text that is shown to people and that no reader needs: a number is taken as its digits, and what is neither
    /// counts as absent.
    pub(crate) fn remark(&mut self, index: usize) -> Option<Cow<'a, str>> {
        match self.take(index).unfractioned() {
            Value::Text(text) => Some(text),
            Value::Unsigned(number) => Some(Cow::Owned(number.to_string())),
            Value::Negative(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }

    /// An RFC 3339 time, kept as it was written. No reader here needs one, since the record has a time of its own:
    /// what is written otherwise (an epoch number, an array, a local time) counts as absent.
    pub(crate) fn time(&mut self, index: usize) -> Option<Cow<'a, str>> {
        match self.take(index) {
            Value::Text(text) if chrono::DateTime::parse_from_rfc3339(&text).is_ok() => Some(text),
            _ => None,
        }
    }

    /// An integer, as a request must have it.
    pub(crate) fn integer(&mut self, index: usize) -> Option<i64> {
        let value = self.take(index);
        self.as_integer(index, value)
    }

    /// A whole number, as records of others may have it: `2`, `2.0`, `"2"`, `"2.0"`.
    pub(crate) fn whole(&mut self, index: usize) -> Option<i64> {
        match self.take(index).unfractioned() {
            Value::Text(text) => {
                let number = whole(&text);
                if number.is_none() {
                    self.wrong(index, "must be an integer, is another string");
                }
                number
            }
            value => self.as_integer(index, value),
        }
    }

    /// An amount of money in minor units, of a currency that has so many `digits` of them. In [`Amounts::Minor`] a
    /// fraction is refused, zeros too: `999.00` is more likely to be of major units.
    pub(crate) fn amount(&mut self, index: usize, amounts: Amounts, digits: u32) -> Option<i64> {
        let value = self.take(index);
        let amount = match (&value, amounts) {
            (Value::Absent, _) => return None,
            (Value::Text(text), Amounts::Minor) => text.parse().ok(),
            (Value::Text(text), Amounts::Major) => amount::of_text(text, digits),
            (Value::Fraction(number), Amounts::Major) => amount::of_number(*number, digits),
            (Value::Unsigned(number), Amounts::Major) => amount::of_integer(*number, digits),
            (Value::Fraction(_), Amounts::Minor) => {
                self.wrong(
                    index,
                    "must be an integer in minor units, is a number with a fraction (where its writer \
                     sends major units, BOOK_AMOUNTS=major)",
                );
                return None;
            }
            _ => return self.as_integer(index, value),
        };
        if amount.is_none() {
            self.wrong(
                index,
                match amounts {
                    Amounts::Minor => {
                        "must be an integer in minor units, is another string".to_owned()
                    }
                    Amounts::Major => {
                        format!("must be at least 0, with at most {digits} decimals, and is not")
                    }
                },
            );
        }
        amount
    }

    fn as_integer(&mut self, index: usize, value: Value<'_>) -> Option<i64> {
        match value {
            Value::Absent => None,
            Value::Negative(number) => Some(number),
            Value::Unsigned(number) => match i64::try_from(number) {
                Ok(number) => Some(number),
                Err(_) => {
                    self.wrong(index, "is too large");
                    None
                }
            },
            other => {
                self.ill_typed(index, "an integer", &other);
                None
            }
        }
    }

    /// The text of a field that is still to be asked for.
    pub(crate) fn peek_text(&self, index: usize) -> Option<&str> {
        match &self.found[index].value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is there, right or wrong; null is not.
    pub(crate) fn is_given(&self, index: usize) -> bool {
        self.found[index].value != Value::Absent
    }

    /// All that was noted; call it when every field has been asked for.
    pub(crate) fn into_error(self) -> DecodeError {
        DecodeError::Fields(FieldErrors(self.errors))
    }

    pub(crate) fn is_fine(&self) -> bool {
        self.errors.is_empty()
    }
}

/// The integer that a text is, with or without a fraction of zeros.
fn whole(text: &str) -> Option<i64> {
    let (digits, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_zero = !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0');
    digits.parse().ok().filter(|_| is_zero)
}

struct Walk<const N: usize> {
    names: &'static [Names; N],
}

impl<'a, const N: usize> Visitor<'a> for Walk<N> {
    type Value = [Found<'a>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found: [Found<'a>; N] = std::array::from_fn(|_| Found::default());
        while let Some(known) = map.next_key_seed(Key { names: self.names })? {
            let Some((index, name)) = known else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = map.next_value_seed(Value::Absent)?;
            let field = &mut found[index];
            if value == Value::Absent {
                continue;
            }
            if field.value == Value::Absent {
                field.value = value;
                field.name = name;
            } else if !field.value.agrees(&value) {
                field.clash = Some(name);
            }
        }
        Ok(found)
    }
}

struct Key<const N: usize> {
    names: &'static [Names; N],
}

impl<'a, const N: usize> DeserializeSeed<'a> for Key<N> {
    type Value = Option<(usize, &'static str)>;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'a, const N: usize> Visitor<'a> for Key<N> {
    type Value = Option<(usize, &'static str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        for (index, names) in self.names.iter().enumerate() {
            for name in [names.camel, names.snake] {
                if name == key {
                    return Ok(Some((index, name)));
                }
            }
        }
        Ok(None)
    }
}

impl<'a> Value<'a> {
    fn deserialize<D: Deserializer<'a>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Value::Absent)
    }
}

/// Any value of it stands for "read one".
impl<'a> DeserializeSeed<'a> for Value<'a> {
    type Value = Value<'a>;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Value<'a>, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Value<'a> {
    type Value = Value<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'a>, E> {
        Ok(Value::Absent)
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Value<'a>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'a>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value<'a>, E> {
        Ok(Value::Unsigned(number))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'a>, E> {
        Ok(match u64::try_from(number) {
            Ok(number) => Value::Unsigned(number),
            Err(_) => Value::Negative(number),
        })
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value<'a>, E> {
        // Integers beyond 64 bits arrive here too, with digits lost: no id can be made of them.
        Ok(Value::Fraction(number))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value<'a>, E> {
        Ok(Value::Other("a boolean"))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<Value<'a>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an array"))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut entries: A) -> Result<Value<'a>, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Value::Other("an object"))
    }
}
