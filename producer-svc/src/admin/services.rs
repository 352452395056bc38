use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::health::{Health, HealthReport, Missing};
use service::http::{ServiceUrl, StatusCode};
use tokio::time::timeout;

/// Longest wait for a service to say how it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// All services of the shop, as an operator wants to see them: this one, and those whose addresses the
/// configuration has. Of several instances behind one address, whichever answers speaks.
pub(super) struct Services {
    own: Health,
    others: [(&'static str, ServiceUrl); 2],
}

/// How one service is.
#[derive(Debug, Serialize)]
pub(super) struct Service {
    name: &'static str,
    state: State,
    /// What is missing or degraded of a service that answers.
    parts: Vec<Missing>,
    /// Why nothing is known of one that does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ready,
    /// It works, with less.
    Degraded,
    NotReady,
    /// It does not answer.
    Away,
}

/// What of `/readyz` is read, whatever its status.
#[derive(Deserialize)]
struct Told {
    missing: Vec<Missing>,
    degraded: Vec<Missing>,
}

impl Services {
    pub(super) fn new(own: &Health, carts: &ServiceUrl, notifications: &ServiceUrl) -> Self {
        Self {
            own: own.clone(),
            others: [
                ("consumer-svc", carts.clone()),
                ("notifier-svc", notifications.clone()),
            ],
        }
    }

    /// Asks them all at once.
    pub(super) async fn look(&self) -> Vec<Service> {
        let others = self.others.iter().map(|(name, url)| ask(name, url));
        let mut services = vec![Service::own(self.own.report())];
        services.extend(futures::future::join_all(others).await);
        services
    }
}

async fn ask(name: &'static str, url: &ServiceUrl) -> Service {
    let away = |problem: String| Service {
        name,
        state: State::Away,
        parts: Vec::new(),
        problem: Some(problem),
    };
    let answer = match timeout(PATIENCE, url.get("/readyz")).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return away(error.to_string()),
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            return away(format!("{url} does not answer in {seconds} s"));
        }
    };
    let ready = answer.status == StatusCode::OK;
    match serde_json::from_slice::<Told>(&answer.body) {
        Ok(told) if ready || answer.status == StatusCode::SERVICE_UNAVAILABLE => {
            Service::told(name, ready, told)
        }
        _ => away(format!(
            "{url} answers {} to /readyz, and does not say how it is",
            answer.status
        )),
    }
}

impl Service {
    fn own(report: HealthReport) -> Self {
        let told = Told {
            missing: report.missing,
            degraded: report.degraded,
        };
        Self::told(crate::NAME, report.ready, told)
    }

    fn told(name: &'static str, ready: bool, told: Told) -> Self {
        let mut parts = told.missing;
        parts.extend(told.degraded);
        let state = match (ready, parts.is_empty()) {
            (false, _) => State::NotReady,
            (true, false) => State::Degraded,
            (true, true) => State::Ready,
        };
        Self {
            name,
            state,
            parts,
            problem: None,
        }
    }
}
