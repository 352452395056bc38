use std::borrow::Cow;

use proto::Rfc3339;
use serde::Serialize;

use super::findings::{Cart, Findings};
use super::stages;

/// The answer to "why is there no cart?".
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) user_id: i64,
    pub(super) verdict: Verdict,
    /// The name of the first stage that fails; none where the cart is there, or nothing fails that
    /// could be asked.
    pub(super) first_failure: Option<&'static str>,
    /// One sentence for people.
    pub(super) summary: String,
    /// What to do about the first failure.
    pub(super) advice: Option<String>,
    /// RFC 3339.
    pub(super) asked_at: String,
    /// The whole way, in its order.
    pub(super) stages: Vec<Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// The cart is there.
    There,
    /// A stage fails.
    Failed,
    /// Nothing fails as far as can be seen, and the cart could not be asked for.
    Unknown,
}

/// One stage of the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Stage {
    pub(super) name: &'static str,
    /// What is asked of it.
    pub(super) question: &'static str,
    pub(super) state: State,
    /// What was seen, or why it cannot be told.
    pub(super) seen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    Failed,
    Unknown,
}

/// What a look at a stage came to, before it has a name.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) state: State,
    pub(super) seen: String,
    pub(super) advice: Option<String>,
}

impl Look {
    pub(super) fn ok(seen: impl Into<String>) -> Self {
        Self {
            state: State::Ok,
            seen: seen.into(),
            advice: None,
        }
    }

    pub(super) fn failed(seen: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            state: State::Failed,
            seen: seen.into(),
            advice: Some(advice.into()),
        }
    }

    /// `why` completes "cannot be told, because …".
    pub(super) fn unknown(why: impl AsRef<str>) -> Self {
        Self {
            state: State::Unknown,
            seen: format!("cannot be told, because {}", why.as_ref()),
            advice: None,
        }
    }
}

/// What was seen, as a report.
pub(super) fn report(findings: &Findings) -> Report {
    let stages: Vec<Stage> = stages::ALL
        .iter()
        .map(|(name, question, look)| {
            let Look {
                state,
                seen,
                advice,
            } = look(findings);
            Stage {
                name,
                question,
                state,
                seen: impersonal(&seen).into_owned(),
                advice: advice.map(|advice| impersonal(&advice).into_owned()),
            }
        })
        .collect();
    let user = findings.user_id;
    let first = stages.iter().find(|stage| stage.state == State::Failed);
    let untold: Vec<&str> = stages
        .iter()
        .take_while(|stage| stage.state != State::Failed)
        .filter(|stage| stage.state == State::Unknown)
        .map(|stage| stage.name)
        .collect();
    let untold = match untold.as_slice() {
        [] => String::new(),
        names => format!(" (before it, {} could not be asked)", names.join(", ")),
    };
    let (verdict, summary) = match (&findings.cart, first) {
        (Ok(Cart::There { id, .. }), _) => (Verdict::There, format!("User {user} has cart {id}.")),
        (_, Some(stage)) => (
            Verdict::Failed,
            format!(
                "The first stage that fails is {}: {}{untold}.",
                stage.name, stage.seen
            ),
        ),
        (_, None) => (
            Verdict::Unknown,
            format!(
                "Whether user {user} has a cart cannot be told; nothing fails that could be asked."
            ),
        ),
    };
    let blamed = first.filter(|_| verdict == Verdict::Failed);
    Report {
        user_id: user,
        verdict,
        first_failure: blamed.map(|stage| stage.name),
        summary,
        advice: blamed.and_then(|stage| stage.advice.clone()),
        asked_at: Rfc3339::from_millis(findings.asked.at).as_str().to_owned(),
        stages,
    }
}

/// Without what may be an e-mail address: reasons and errors of others are shown as they are otherwise,
/// and nobody knows what they put in.
fn impersonal(text: &str) -> Cow<'_, str> {
    if !text.contains('@') {
        return text.into();
    }
    let words = text.split(' ').map(|word| match word.contains('@') {
        true => "[hidden]",
        false => word,
    });
    words.collect::<Vec<_>>().join(" ").into()
}
