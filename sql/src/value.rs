//! Values of a statement's parameters.

use std::borrow::Cow;

/// Of a parameter, or of a batch's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// 64 bits, signed.
    Bigint,
    /// Floating point of 64 bits.
    Double,
    Text,
}

/// What can be bound to a parameter: `i64`, `f64`, text, and options of them.
pub trait Argument {
    /// Also of one that is null.
    const TYPE: Type;

    /// Adds it behind the others.
    fn add_to(self, arguments: &mut Arguments);
}

/// The values of all parameters, texts one behind another: a batch of thousands takes two allocations.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    values: Vec<Stored>,
    text: String,
}

#[derive(Clone, Copy, Debug)]
enum Stored {
    Null(Type),
    Bigint(i64),
    Double(f64),
    Text { from: usize, to: usize },
}

/// A value that is bound, or read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Bigint(i64),
    Double(f64),
    Text(&'a str),
}

impl Arguments {
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn get(&self, index: usize) -> Value<'_> {
        match self.values[index] {
            Stored::Null(_) => Value::Null,
            Stored::Bigint(value) => Value::Bigint(value),
            Stored::Double(value) => Value::Double(value),
            Stored::Text { from, to } => Value::Text(&self.text[from..to]),
        }
    }

    pub(crate) fn type_of(&self, index: usize) -> Type {
        match self.values[index] {
            Stored::Null(of) => of,
            Stored::Bigint(_) => Type::Bigint,
            Stored::Double(_) => Type::Double,
            Stored::Text { .. } => Type::Text,
        }
    }
}

impl Argument for i64 {
    const TYPE: Type = Type::Bigint;

    fn add_to(self, arguments: &mut Arguments) {
        arguments.values.push(Stored::Bigint(self));
    }
}

impl Argument for f64 {
    const TYPE: Type = Type::Double;

    fn add_to(self, arguments: &mut Arguments) {
        arguments.values.push(Stored::Double(self));
    }
}

impl Argument for &str {
    const TYPE: Type = Type::Text;

    fn add_to(self, arguments: &mut Arguments) {
        let from = arguments.text.len();
        arguments.text.push_str(self);
        let to = arguments.text.len();
        arguments.values.push(Stored::Text { from, to });
    }
}

impl Argument for &String {
    const TYPE: Type = Type::Text;

    fn add_to(self, arguments: &mut Arguments) {
        self.as_str().add_to(arguments);
    }
}

impl Argument for String {
    const TYPE: Type = Type::Text;

    fn add_to(self, arguments: &mut Arguments) {
        self.as_str().add_to(arguments);
    }
}

impl Argument for Cow<'_, str> {
    const TYPE: Type = Type::Text;

    fn add_to(self, arguments: &mut Arguments) {
        self.as_ref().add_to(arguments);
    }
}

impl<T: Argument> Argument for Option<T> {
    const TYPE: Type = T::TYPE;

    fn add_to(self, arguments: &mut Arguments) {
        match self {
            Some(value) => value.add_to(arguments),
            None => arguments.values.push(Stored::Null(T::TYPE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_given_back_as_they_came() {
        let mut arguments = Arguments::default();
        "Ёлка".add_to(&mut arguments);
        7.add_to(&mut arguments);
        None::<&str>.add_to(&mut arguments);
        Some(4.33).add_to(&mut arguments);
        String::new().add_to(&mut arguments);
        let all: Vec<Value> = (0..arguments.len()).map(|i| arguments.get(i)).collect();
        let expected = [
            Value::Text("Ёлка"),
            Value::Bigint(7),
            Value::Null,
            Value::Double(4.33),
            Value::Text(""),
        ];
        assert_eq!(all, expected);
        assert_eq!(arguments.type_of(2), Type::Text, "of a null");
    }
}
