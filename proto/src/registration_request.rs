use std::borrow::Cow;

use crate::email;
use crate::error::DecodeError;
use crate::fields::{Fields, Names, same};
use crate::spelling::Spelling;

/// Bytes of a password: the systems this one replaces take six characters; past a kilobyte it is no
/// password any more, but work for the hash.
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 6..=1024;

/// `POST /api/auth/registration`: `{"email":"…","password":"…"}`. Has no `Debug`: both are nobody's
/// business.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistrationRequest<'a> {
    /// A valid address, without blanks around it, spelled as it came.
    pub email: Cow<'a, str>,
    pub password: Cow<'a, str>,
}

const EMAIL: usize = 0;
const PASSWORD: usize = 1;
static NAMES: [Names; 2] = [same("email"), same("password")];

impl<'a> RegistrationRequest<'a> {
    /// Reads a request's body. [`DecodeError::Fields`] is the request's 422, with all wrong fields;
    /// any other error its 400.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::read(body, &NAMES, Spelling::Camel)?;
        let email = fields.text(EMAIL);
        let email = fields.required(EMAIL, email).map(trimmed);
        if email
            .as_ref()
            .is_some_and(|email| !email::is_address(email))
        {
            fields.wrong(EMAIL, "must be an e-mail address");
        }
        let password = fields.text(PASSWORD);
        let password = fields.required(PASSWORD, password);
        if let Some(password) = &password {
            if password.chars().count() < *PASSWORD_BYTES.start() {
                let least = PASSWORD_BYTES.start();
                fields.wrong(PASSWORD, format!("must have at least {least} characters"));
            } else if password.len() > *PASSWORD_BYTES.end() {
                let most = PASSWORD_BYTES.end();
                fields.wrong(PASSWORD, format!("must have at most {most} bytes"));
            }
        }
        match (email, password) {
            (Some(email), Some(password)) if fields.is_fine() => Ok(Self { email, password }),
            _ => Err(fields.into_error()),
        }
    }
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_wrong_fields_are_named_and_blanks_do_not_count() {
        let wrong = |body: &str| {
            let Err(error) = RegistrationRequest::decode(body.as_bytes()) else {
                panic!("{body} is taken");
            };
            let fields = error.fields();
            fields.iter().map(|error| error.field).collect::<Vec<_>>()
        };
        assert_eq!(wrong("{}"), ["email", "password"]);
        assert_eq!(
            wrong(r#"{"email":"a","password":"12345"}"#),
            ["email", "password"]
        );
        assert_eq!(
            wrong(r#"{"email":1,"password":["123456"]}"#),
            ["email", "password"]
        );
        let long = "x".repeat(1025);
        let body = format!(r#"{{"email":"a@b.c","password":"{long}"}}"#);
        assert_eq!(wrong(&body), ["password"]);
        let body = r#"{"email":" Anna@Example.com ","password":" пароль "}"#;
        let Ok(request) = RegistrationRequest::decode(body.as_bytes()) else {
            panic!("refused");
        };
        assert_eq!(request.email, "Anna@Example.com");
        assert_eq!(request.password, " пароль ", "kept as it is");
    }
}
