use std::sync::Arc;
use std::time::Duration;

use proto::{RegistrationRequest, Traceparent};
use serde_json::json;
use service::db::database_problem;
use service::http::{Problem, Request, Response, Router, StatusCode, json};

use super::password::{HashError, Passwords};
use super::store::UserStore;
use crate::refusal::refusal;

const PATH: &str = "/api/auth/registration";

#[derive(Debug)]
struct Registration {
    store: UserStore,
    passwords: Passwords,
    /// How long a registration waits for its password's turn.
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
    request.require_type("application/json")?;
    let trace = Traceparent::continued(
        request
            .headers()
            .get("traceparent")
            .map(|parent| parent.as_bytes()),
    );
    let body = request.body().await?;
    let asked =
        RegistrationRequest::decode(&body).map_err(|error| refusal(error, "registration"))?;
    let id = registration.register(&asked, &trace).await?;
    Ok(json(StatusCode::CREATED, &json!({ "userId": id })))
}

impl Registration {
    async fn register(
        &self,
        asked: &RegistrationRequest<'_>,
        trace: &Traceparent,
    ) -> Result<i64, Problem> {
        // Before the work of hashing; two at once are told apart by the insertion.
        if self
            .store
            .is_taken(&asked.email)
            .await
            .map_err(|error| self.unread(&error))?
        {
            return Err(taken());
        }
        let password = asked.password.clone().into_owned();
        let hash = match self.passwords.hash(password, self.patience).await {
            Ok(hash) => hash,
            Err(HashError::Busy) => {
                return Err(Problem::unavailable(
                    "too many registrations at once; send it again",
                    Duration::from_secs(1),
                ));
            }
            Err(error) => {
                tracing::error!("registration: {error}");
                return Err(Problem::internal());
            }
        };
        let created = self.store.create(&asked.email, &hash, trace).await;
        created
            .map_err(|error| self.unread(&error))?
            .ok_or_else(taken)
    }

    fn unread(&self, error: &sqlx::Error) -> Problem {
        database_problem(
            &self.store.database,
            error,
            "the users' database does not answer; send the registration again",
        )
    }
}

fn taken() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "somebody has this e-mail address already",
    )
}
