use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;

use super::problem::Problem;
use super::request::Request;
use super::response::{Response, json, json_bytes, with_type};
use super::router::Router;
use crate::health::Health;
use crate::metrics::Metrics;

/// What every service serves next to its own routes: `/livez`, `/readyz`, `/metrics` and
/// `/openapi.json` (a document written by hand, checked to be JSON by the service's tests).
pub fn service_routes(health: &Health, metrics: &Metrics, openapi: &'static str) -> Router {
    Router::new()
        .get("/livez", (), async |(), _: Request| {
            Ok(json(
                StatusCode::OK,
                &serde_json::json!({"status": "alive"}),
            ))
        })
        .get("/readyz", health.clone(), readyz)
        .get("/metrics", metrics.clone(), scrape)
        .get(
            "/openapi.json",
            openapi,
            async |document: &'static str, _: Request| {
                Ok(json_bytes(
                    StatusCode::OK,
                    Bytes::from_static(document.as_bytes()),
                ))
            },
        )
}

async fn readyz(health: Health, request: Request) -> Result<Response, Problem> {
    let report = health.report();
    let strict = request.has_query("strict");
    if report.ready && (!strict || report.degraded.is_empty()) {
        return Ok(json(StatusCode::OK, &report));
    }
    let detail = if report.shutting_down {
        "the service is shutting down".to_owned()
    } else {
        let list = if report.missing.is_empty() {
            &report.degraded
        } else {
            &report.missing
        };
        let list: Vec<String> = list
            .iter()
            .map(|m| format!("{}: {}", m.name, m.problem))
            .collect();
        list.join("; ")
    };
    Err(Problem::unavailable(detail, Duration::from_secs(1))
        .with("missing", serde_json::json!(report.missing))
        .with("degraded", serde_json::json!(report.degraded)))
}

async fn scrape(metrics: Metrics, _: Request) -> Result<Response, Problem> {
    Ok(with_type(
        StatusCode::OK,
        Bytes::from(metrics.render()),
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    ))
}
