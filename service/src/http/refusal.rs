use proto::DecodeError;

use super::problem::{FieldProblem, Problem};

/// What is said of a body that is no `what`: 422 with all wrong fields, or 400 where it is not to be
/// read at all.
pub fn refusal(error: DecodeError, what: &str) -> Problem {
    match error {
        DecodeError::Fields(errors) => Problem::unprocessable(
            errors
                .0
                .into_iter()
                .map(|error| FieldProblem::new(error.field, error.problem))
                .collect(),
        ),
        other => Problem::bad_request(format!("the body is no {what}: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use proto::{OrderRequest, Spelling};

    use super::*;
    use crate::http::Body;

    #[test]
    fn refusals_name_every_wrong_field_and_tell_unreadable_from_wrong() {
        let refused = |body: &str| {
            let error = OrderRequest::decode(body.as_bytes(), Spelling::Camel).unwrap_err();
            refusal(error, "order")
        };
        let wrong = refused("{\"product\":\"\",\"quantity\":0}");
        assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let Body::Full(body) = wrong.into_response().into_body() else {
            panic!("a stream");
        };
        let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let fields: Vec<_> = document["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| &e["field"])
            .collect();
        assert_eq!(fields, ["product", "quantity"]);
        for unreadable in ["", "{", "[]", "\u{1}"] {
            assert_eq!(
                refused(unreadable).status(),
                StatusCode::BAD_REQUEST,
                "{unreadable:?}"
            );
        }
    }
}
