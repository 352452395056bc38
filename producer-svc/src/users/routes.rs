use std::sync::Arc;
use std::time::Duration;

use proto::{RegistrationRequest, Traceparent, UuidText, identity};
use serde_json::json;
use service::db::database_problem;
use service::http::{Problem, Request, Response, Router, StatusCode, json, refusal};
use tokio::time::Instant;

use super::password::{HashError, Passwords, Place};
use super::store::{NewUser, UserStore};

const PATH: &str = "/api/auth/registration";

#[derive(Debug)]
struct Registration {
    store: UserStore,
    passwords: Passwords,
    /// Longest time to the answer.
    patience: Duration,
}

/// `POST /api/auth/registration`.
pub(crate) fn routes(store: UserStore, passwords: Passwords, patience: Duration) -> Router {
    let registration = Arc::new(Registration {
        store,
        passwords,
        patience,
    });
    Router::new().post(PATH, registration, register)
}

/// The same path on an instance that keeps no users.
pub(crate) fn routes_without_users() -> Router {
    let refuse = async |(), _: Request| {
        Err(Problem::not_found(
            "this instance keeps no users (USERS=false); ask one that does",
        ))
    };
    Router::new().post(PATH, (), refuse)
}

async fn register(
    registration: Arc<Registration>,
    mut request: Request,
) -> Result<Response, Problem> {
    let trace = request.trace();
    let body = request.json().await?;
    let asked =
        RegistrationRequest::decode(&body).map_err(|error| refusal(error, "registration"))?;
    let key = request.idempotency_key()?;
    let key = key.map(|key| UuidText::new(identity::idempotent_request(PATH, key)));
    let key = key.as_ref().map(UuidText::as_str);
    let id = registration.register(&asked, key, &trace).await?;
    Ok(json(StatusCode::CREATED, &json!({ "userId": id })))
}

impl Registration {
    /// Answered in `REQUEST_TIMEOUT`, whatever the database does, and at once where too many are under
    /// way.
    async fn register(
        &self,
        asked: &RegistrationRequest<'_>,
        key: Option<&str>,
        trace: &Traceparent,
    ) -> Result<i64, Problem> {
        let deadline = Instant::now() + self.patience;
        let Some(place) = self.passwords.admit() else {
            return Err(busy());
        };
        // Before the work of hashing; two at once are told apart by the insertion.
        if let Some(id) = self.known(asked, key, &place, deadline).await? {
            return Ok(id);
        }
        let password = asked.password.clone().into_owned();
        let hash = self.passwords.hash(&place, password, deadline).await;
        let new = NewUser {
            email: &asked.email,
            password_hash: &hash.map_err(unhashed)?,
            key,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let created = self.store.create(&new, left, trace).await;
        match created.map_err(|error| self.unread(&error))? {
            Some(id) => Ok(id),
            // The try before this one, or somebody else.
            None => match self.known(asked, key, &place, deadline).await? {
                Some(id) => Ok(id),
                None => Err(busy()),
            },
        }
    }

    /// The user whom this very request has registered before; none where nobody has the address. What
    /// makes it the same request is its key, and the password.
    async fn known(
        &self,
        asked: &RegistrationRequest<'_>,
        key: Option<&str>,
        place: &Place,
        deadline: Instant,
    ) -> Result<Option<i64>, Problem> {
        let finding = tokio::time::timeout_at(deadline, self.store.find(&asked.email));
        let found = match finding.await {
            Ok(found) => found.map_err(|error| self.unread(&error))?,
            Err(_) => return Err(Problem::unavailable(AWAY, Duration::from_secs(1))),
        };
        let Some(user) = found else {
            return Ok(None);
        };
        if key.is_none() || user.key.as_deref() != key {
            return Err(taken());
        }
        let password = asked.password.clone().into_owned();
        let same = self
            .passwords
            .is(place, password, user.password_hash, deadline);
        match same.await.map_err(unhashed)? {
            true => Ok(Some(user.id)),
            false => Err(taken()),
        }
    }

    fn unread(&self, error: &sql::Error) -> Problem {
        database_problem(&self.store.database, error, AWAY)
    }
}

const AWAY: &str = "the users' database does not answer; send the registration again, with the same \
                    Idempotency-Key if it had one";

fn busy() -> Problem {
    Problem::unavailable(
        "too many registrations at once; send it again",
        Duration::from_secs(1),
    )
}

fn unhashed(error: HashError) -> Problem {
    match error {
        HashError::Busy => busy(),
        HashError::Failed(error) => {
            tracing::error!("registration: {error}");
            Problem::internal()
        }
    }
}

fn taken() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "somebody has this e-mail address already",
    )
}
