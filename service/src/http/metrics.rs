use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use crate::metrics::Metrics;

/// Boundaries in seconds that OpenTelemetry's HTTP semantic conventions advise for
/// `http.server.request.duration`.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    http_request_method: String,
    http_route: String,
    http_response_status_code: u16,
}

type Durations = Family<Labels, Histogram, fn() -> Histogram>;

/// `http_server_request_duration_seconds` by method, route and status.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    durations: Durations,
}

impl HttpMetrics {
    pub fn new(metrics: &Metrics) -> Self {
        let durations: Durations = Family::new_with_constructor(|| Histogram::new(BUCKETS));
        metrics.register(
            "http_server_request_duration_seconds",
            "Time from a request's head to its answer's head",
            durations.clone(),
        );
        Self { durations }
    }

    pub(crate) fn route(&self, method: &str, route: &str) -> Arc<RouteMetrics> {
        Arc::new(RouteMetrics {
            durations: self.durations.clone(),
            method: method.to_owned(),
            route: route.to_owned(),
            known: RwLock::new(Vec::new()),
        })
    }
}

/// One route's histograms, so that a request costs no lookup by labels.
#[derive(Debug)]
pub(crate) struct RouteMetrics {
    durations: Durations,
    method: String,
    route: String,
    known: RwLock<Vec<(StatusCode, Histogram)>>,
}

impl RouteMetrics {
    pub(crate) fn observe(&self, status: StatusCode, duration: Duration) {
        let seconds = duration.as_secs_f64();
        {
            let known = self.known.read();
            if let Some((_, histogram)) = known.iter().find(|(s, _)| *s == status) {
                histogram.observe(seconds);
                return;
            }
        }
        let labels = Labels {
            http_request_method: self.method.clone(),
            http_route: self.route.clone(),
            http_response_status_code: status.as_u16(),
        };
        let histogram = self.durations.get_or_create(&labels).clone();
        histogram.observe(seconds);
        let mut known = self.known.write();
        if !known.iter().any(|(s, _)| *s == status) {
            known.push((status, histogram));
        }
    }
}
