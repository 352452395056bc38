use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, StatusCode};

use super::metrics::RouteMetrics;
use super::problem::Problem;
use super::request::Request;
use super::response::Response;

pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response, Problem>> + Send>>;
type Handler = Arc<dyn Fn(Request) -> Answer + Send + Sync>;

/// The handler that [`Router::around`] stands before.
pub struct Next(Handler);

impl Next {
    /// What the handler answers.
    pub async fn run(self, request: Request) -> Result<Response, Problem> {
        (self.0)(request).await
    }
}

/// The query parameters of a route that refuses whatever it is asked: none of them is unknown.
pub const ANY_QUERY: &[&str] = &["*"];

/// Methods and paths to handlers. Paths are matchit's: `/api/orders/{orderId}`, `{*rest}`.
///
/// A route takes no query parameter but those named by [`Router::taking`]: any other is refused with
/// 422, since one that is passed over (`user_id` for `userId`) gives an answer to another question.
#[derive(Default)]
pub struct Router {
    routes: Vec<(&'static str, Vec<Route>)>,
    /// Path and method of the route that was added last.
    last: Option<(&'static str, Method)>,
}

struct Route {
    method: Method,
    handler: Handler,
    /// The query parameters that it takes.
    queries: &'static [&'static str],
}

impl Router {
    pub fn new() -> Self {
        Self::default()
    }

    /// A handler `async fn(State, Request) -> Result<Response, Problem>`; the state is cloned for
    /// each request. A `GET` handler serves `HEAD` as well.
    pub fn route<S, F, Fut>(
        mut self,
        method: Method,
        path: &'static str,
        state: S,
        handler: F,
    ) -> Self
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
    {
        // Within whatever stands around: who may not come in is not told what the route takes.
        let handler: Handler = Arc::new(move |request| match request.check_query_names() {
            Ok(()) => Box::pin(handler(state.clone(), request)) as Answer,
            Err(problem) => Box::pin(std::future::ready(Err(problem))),
        });
        self.last = Some((path, method.clone()));
        let route = Route {
            method,
            handler,
            queries: &[],
        };
        match self.routes.iter_mut().find(|(p, _)| *p == path) {
            Some((_, methods)) => methods.push(route),
            None => self.routes.push((path, vec![route])),
        }
        self
    }

    /// The query parameters of the route that was added last; [`ANY_QUERY`] for all.
    ///
    /// # Panics
    /// If no route was added: an error of the program, seen by any test that serves.
    #[must_use]
    pub fn taking(mut self, queries: &'static [&'static str]) -> Self {
        let last = self.last.as_ref();
        let route = self.routes.iter_mut().find_map(|(path, methods)| {
            let last = last.filter(|(last, _)| last == path);
            methods
                .iter_mut()
                .find(|route| last.is_some_and(|(_, method)| *method == route.method))
        });
        route.expect("a route before its query parameters").queries = queries;
        self
    }

    pub fn get<S, F, Fut>(self, path: &'static str, state: S, handler: F) -> Self
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
    {
        self.route(Method::GET, path, state, handler)
    }

    pub fn post<S, F, Fut>(self, path: &'static str, state: S, handler: F) -> Self
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S, Request) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
    {
        self.route(Method::POST, path, state, handler)
    }

    /// Puts `around` before every route added so far: it answers itself, or passes the request on with
    /// [`Next::run`] and may change the answer. It stands before the handlers alone: a path or a method
    /// that is not there is refused without it.
    pub fn around<S, F, Fut>(mut self, state: S, around: F) -> Self
    where
        S: Clone + Send + Sync + 'static,
        F: Fn(S, Request, Next) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
    {
        for (_, methods) in &mut self.routes {
            for Route { handler, .. } in methods {
                let (inner, state, around) = (handler.clone(), state.clone(), around.clone());
                *handler = Arc::new(move |request| {
                    Box::pin(around(state.clone(), request, Next(inner.clone()))) as Answer
                });
            }
        }
        self
    }

    /// All routes of another router as well.
    pub fn merge(mut self, other: Self) -> Self {
        for (path, methods) in other.routes {
            match self.routes.iter_mut().find(|(p, _)| *p == path) {
                Some((_, own)) => own.extend(methods),
                None => self.routes.push((path, methods)),
            }
        }
        self
    }

    /// The lookup table.
    ///
    /// # Panics
    /// If two paths contradict each other: an error of the program, seen by any test that serves.
    pub(crate) fn build(self, metrics: &super::HttpMetrics) -> RouteTable {
        let mut tree = matchit::Router::new();
        for (path, methods) in self.routes {
            let mut allow: Vec<&str> = methods.iter().map(|r| r.method.as_str()).collect();
            if allow.contains(&"GET") {
                allow.push("HEAD");
            }
            let entry = Entry {
                allow: HeaderValue::from_str(&allow.join(", ")).expect("methods are tokens"),
                methods: methods
                    .into_iter()
                    .map(|route| {
                        let metrics = metrics.route(route.method.as_str(), path);
                        (route, metrics)
                    })
                    .collect(),
                other: metrics.route("_OTHER", path),
            };
            tree.insert(path, entry)
                .unwrap_or_else(|error| panic!("route {path}: {error}"));
        }
        RouteTable {
            tree,
            unmatched: metrics.route("_OTHER", ""),
        }
    }
}

pub(crate) struct RouteTable {
    tree: matchit::Router<Entry>,
    unmatched: Arc<RouteMetrics>,
}

struct Entry {
    methods: Vec<(Route, Arc<RouteMetrics>)>,
    allow: HeaderValue,
    other: Arc<RouteMetrics>,
}

/// The outcome of a lookup; the metrics say which route it counts for.
pub(crate) enum Found<'a> {
    Handler(&'a Handler, RouteParameters, &'a Arc<RouteMetrics>),
    Refused(Problem, &'a Arc<RouteMetrics>),
}

/// What a request has of its route's path, and may have in its query.
#[derive(Debug)]
pub(crate) struct RouteParameters {
    pub(crate) path: Vec<(String, String)>,
    pub(crate) queries: &'static [&'static str],
}

impl RouteTable {
    pub(crate) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let Ok(found) = self.tree.at(path) else {
            return Found::Refused(
                Problem::not_found(
                    "there is nothing at this path; GET /openapi.json lists what is",
                ),
                &self.unmatched,
            );
        };
        let entry = found.value;
        let wanted = |m: &Method| m == method || (*method == Method::HEAD && *m == Method::GET);
        let Some((route, metrics)) = entry.methods.iter().find(|(r, _)| wanted(&r.method)) else {
            let problem = Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!(
                    "this path takes {}",
                    entry.allow.to_str().unwrap_or_default()
                ),
            );
            return Found::Refused(problem.header(ALLOW, entry.allow.clone()), &entry.other);
        };
        let mut parameters = Vec::new();
        for (name, value) in found.params.iter() {
            match decoded(value) {
                Some(value) => parameters.push((name.to_owned(), value)),
                None => {
                    let problem = Problem::bad_request("the path is not percent-encoded UTF-8");
                    return Found::Refused(problem, metrics);
                }
            }
        }
        let parameters = RouteParameters {
            path: parameters,
            queries: route.queries,
        };
        Found::Handler(&route.handler, parameters, metrics)
    }
}

/// Percent-decoded (RFC 3986); `None` where an escape is cut short or the bytes are no UTF-8.
fn decoded(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let hex = tail.get(..2)?;
            let digit = |b: u8| char::from(b).to_digit(16);
            bytes.push((digit(hex[0])? * 16 + digit(hex[1])?) as u8);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_percent_decoded() {
        assert_eq!(decoded("a%20b").as_deref(), Some("a b"));
        assert_eq!(decoded("%D1%8F").as_deref(), Some("я"));
        assert_eq!(decoded("plain+plus").as_deref(), Some("plain+plus"));
        for wrong in ["%", "%2", "%zz", "%ff", "%+1"] {
            assert_eq!(decoded(wrong), None, "{wrong}");
        }
    }
}
