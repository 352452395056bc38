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
        .taking(&["strict"])
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

/// Prometheus text, or OpenMetrics for who asks for it, as Prometheus itself does.
async fn scrape(metrics: Metrics, request: Request) -> Result<Response, Problem> {
    let accept = request.header_named("accept").unwrap_or_default();
    let (body, content_type) = if takes_openmetrics(accept) {
        (
            metrics.render_openmetrics(),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )
    } else {
        (metrics.render(), "text/plain; version=0.0.4; charset=utf-8")
    };
    Ok(with_type(StatusCode::OK, Bytes::from(body), content_type))
}

fn takes_openmetrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
        // A weight of 0 is a refusal.
        let refused = parts.any(|part| {
            part.strip_prefix("q=")
                .is_some_and(|weight| weight.parse() == Ok(0.0))
        });
        named && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_who_asks_for_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1";
        assert!(takes_openmetrics(prometheus));
        for other in [
            "",
            "*/*",
            "text/plain;version=0.0.4",
            "application/openmetrics-text; q=0, text/plain",
        ] {
            assert!(!takes_openmetrics(other), "{other}");
        }
    }
}
