use std::borrow::Cow;

use crate::book_event::{self, BookDetail, BookEvent, BookEventKind, Reading};
use crate::error::DecodeError;

/// Longest text of a review, in characters.
const MAX_TEXT: usize = 10_000;

/// `POST /api/books/{bookId}/views|downloads|purchases|reviews|ratings`: what a client says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookEventRequest<'a> {
    /// 1 to 128 printable characters; given, a retry of the request is the same event. None: the service makes a UUIDv7.
    pub event_id: Option<Cow<'a, str>>,
    /// 1 to 128 printable characters; never none where it is the key.
    pub user_id: Option<Cow<'a, str>>,
    pub detail: BookDetail<'a>,
}

impl<'a> BookEventRequest<'a> {
    /// Reads a request's body; an empty one is `{}`, as a view needs nothing. [`DecodeError::Fields`] is the request's
    /// 422, with all wrong fields; any other error its 400.
    pub fn decode(body: &'a [u8], kind: BookEventKind) -> Result<Self, DecodeError> {
        let body = match body.trim_ascii() {
            b"" => b"{}",
            _ => body,
        };
        let mut fields = book_event::read(body)?;
        let event_id = book_event::event_id(&mut fields);
        let user_id = book_event::user_id(&mut fields, kind);
        let detail = book_event::detail(&mut fields, kind, Reading::Request);
        if let Some(BookDetail::Reviewed { text, .. }) = &detail
            && text.chars().count() > MAX_TEXT
        {
            fields.wrong(
                book_event::TEXT,
                format!("must have at most {MAX_TEXT} characters"),
            );
        }
        match detail {
            Some(detail) if fields.is_fine() => Ok(Self {
                event_id,
                user_id,
                detail,
            }),
            _ => Err(fields.into_error()),
        }
    }

    /// The event that it asks for. `event_id` is the request's, or the one that was made for it.
    pub fn into_event(
        self,
        book_id: i64,
        event_id: Cow<'a, str>,
        timestamp: Cow<'a, str>,
    ) -> BookEvent<'a> {
        BookEvent {
            event_id: Some(event_id),
            book_id,
            user_id: self.user_id,
            timestamp: Some(timestamp),
            detail: self.detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_wrong_fields_are_named() {
        let wrong = |body: &str, kind| {
            let error = BookEventRequest::decode(body.as_bytes(), kind).unwrap_err();
            let fields = error.fields();
            fields.iter().map(|error| error.field).collect::<Vec<_>>()
        };
        assert_eq!(wrong("", BookEventKind::Downloaded), ["userId"]);
        assert_eq!(
            wrong("{}", BookEventKind::Purchased),
            ["userId", "amount", "currency"]
        );
        assert_eq!(
            wrong(
                r#"{"eventId":"","userId":"u","amount":-1,"currency":"R"}"#,
                BookEventKind::Purchased
            ),
            ["eventId", "amount", "currency"]
        );
        let most = r#"{"userId":1,"amount":9007199254740992,"currency":"rub"}"#;
        assert_eq!(wrong(most, BookEventKind::Purchased), ["amount"]);
        assert_eq!(wrong("{}", BookEventKind::Reviewed), ["text", "action"]);
        let long = format!(r#"{{"text":"{}","action":"created"}}"#, "ж".repeat(10_001));
        assert_eq!(wrong(&long, BookEventKind::Reviewed), ["text"]);
        for rating in ["0", "6", "4.5", "\"5\""] {
            let body = format!(r#"{{"rating":{rating}}}"#);
            assert_eq!(wrong(&body, BookEventKind::Rated), ["rating"], "{body}");
        }
    }

    #[test]
    fn a_view_needs_nothing() {
        for body in ["", " \n", "{}"] {
            let request = BookEventRequest::decode(body.as_bytes(), BookEventKind::Viewed).unwrap();
            assert_eq!((request.event_id, request.user_id), (None, None));
        }
        let Err(error) = BookEventRequest::decode(b"[]", BookEventKind::Viewed) else {
            panic!("taken");
        };
        assert!(error.fields().is_empty());
    }
}
