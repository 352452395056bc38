use std::borrow::Cow;

use crate::error::DecodeError;
use crate::event_type::EventType;
use crate::fields::{Fields, Names, either, same};
use crate::spelling::Spelling;
use crate::writer::ObjectWriter;

/// What happened to a user, on `users.events`: one topic for all that happens to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserEvent<'a> {
    Created(UserCreated<'a>),
    /// Of a type that is not known here, as it is called: nothing to do for a reader, and nothing wrong either.
    Other(Cow<'a, str>),
}

/// `{"type":"UserCreated","userId":1,"email":"…","createdAt":"…"}`
///
/// A reader needs the user alone; `email` is personal and stays out of logs.
#[derive(Clone, PartialEq, Eq)]
pub struct UserCreated<'a> {
    /// From 1 on.
    pub user_id: i64,
    pub email: Option<Cow<'a, str>>,
    /// RFC 3339; what other systems write otherwise counts as none.
    pub created_at: Option<Cow<'a, str>>,
}

const TYPE: usize = 0;
const USER_ID: usize = 1;
const EMAIL: usize = 2;
const CREATED_AT: usize = 3;
static NAMES: [Names; 4] = [
    either("type", "eventType"),
    either("userId", "user_id"),
    same("email"),
    either("createdAt", "created_at"),
];

impl<'a> UserEvent<'a> {
    /// Reads a record's value. `header` is its type by its headers (`ce_type`, or Spring's `__TypeId__`), which counts
    /// where the body has none. The type may be in any spelling that [`EventType::is_named`] knows.
    pub fn decode(value: &'a [u8], header: Option<&'a str>) -> Result<Self, DecodeError> {
        let mut fields = Fields::read(value, &NAMES, Spelling::Camel)?;
        let of_body = fields.text(TYPE);
        let kind = of_body.or(header.map(Cow::Borrowed));
        let kind = fields.required(TYPE, kind);
        if fields.is_fine()
            && let Some(kind) = kind
            && !EventType::UserCreated.is_named(&kind)
        {
            return Ok(Self::Other(kind));
        }
        let user_id = fields.number_id(USER_ID);
        let user_id = fields.required(USER_ID, user_id);
        let email = fields.remark(EMAIL);
        let created_at = fields.time(CREATED_AT);
        match user_id {
            Some(user_id) if fields.is_fine() => Ok(Self::Created(UserCreated {
                user_id,
                email,
                created_at,
            })),
            _ => Err(fields.into_error()),
        }
    }
}

impl UserCreated<'_> {
    /// Appends the JSON to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        ObjectWriter::new(out)
            .text("type", EventType::UserCreated.as_str())
            .integer("userId", self.user_id)
            .text_if("email", self.email.as_deref())
            .text_if("createdAt", self.created_at.as_deref())
            .end();
    }
}

impl std::fmt::Debug for UserCreated<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserCreated")
            .field("user_id", &self.user_id)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}
