//! A service against its own `/openapi.json`: requests made from the document, right ones and ones
//! that are wrong in every way, and whether each answer is one that it promises.
//!
//! - [`Interface`] reads the document, sends the requests and judges the answers.
//! - [`generate`] makes values, and what is nearly one; the same ones in each run, more of them with
//!   `PROPTEST_CASES`.
//! - [`schema`] says whether a value is valid; of JSON Schema it knows what our documents use, and
//!   panics at anything else.

mod generate;
mod schema;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use futures::StreamExt;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value;

use crate::http::{self, Answer};

/// Requests of each operation, unless `PROPTEST_CASES` says otherwise (proptest's own default is
/// too many for a connection each).
const CASES: u32 = 48;

/// Wrong answers that are shown; the others are counted.
const SHOWN: u32 = 10;

/// Requests at a time: few, so that none is told that too many come.
const AT_A_TIME: usize = 4;

/// A service's document, and what is known of its data.
#[derive(Debug)]
pub struct Interface {
    document: Value,
    /// Values of path parameters that are there, by their names.
    known: Vec<(&'static str, Vec<String>)>,
    opaque: &'static [&'static str],
}

/// One request, and what the document says of it.
#[derive(Debug, Clone)]
struct Request {
    operation: String,
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    /// Whether all of it is as the document wants it.
    valid: bool,
    /// The only right status, where there is but one.
    expected: Option<u16>,
    /// The document's `responses` of the operation.
    responses: Value,
}

/// How often each status was answered, by operation.
type Statuses = BTreeMap<String, BTreeMap<u16, usize>>;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Answers that say that the request was no good.
const REFUSALS: [u16; 5] = [400, 411, 413, 415, 422];

impl Interface {
    /// # Panics
    /// When `document` is no JSON.
    pub fn new(document: &str) -> Self {
        Self {
            document: serde_json::from_str(document).expect("the document is JSON"),
            known: Vec::new(),
            opaque: &[],
        }
    }

    /// Among the values of the path's parameter `name` are these, which are there.
    #[must_use]
    pub fn known(mut self, name: &'static str, values: &[&str]) -> Self {
        let values = values.iter().copied().map(str::to_owned).collect();
        self.known.push((name, values));
        self
    }

    /// Parameters whose right values only the service can give: one that was made up may be refused.
    #[must_use]
    pub fn opaque(mut self, names: &'static [&'static str]) -> Self {
        self.opaque = names;
        self
    }

    /// Sends requests of all operations.
    ///
    /// # Panics
    /// When an answer is not as the document promises, naming request and answer; or when no request
    /// of an operation succeeded, so that nothing was tried of it but its refusals.
    pub async fn exercise(&self, address: SocketAddr) {
        let requests = self.requests();
        let answers = futures::stream::iter(requests)
            .map(|request| async move {
                let headers: Vec<_> = request
                    .headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                let (method, path) = (request.method, &request.path);
                let answer = http::request(address, method, path, &headers, &request.body).await;
                (request, answer)
            })
            .buffer_unordered(AT_A_TIME)
            .collect::<Vec<_>>()
            .await;
        let (mut statuses, mut wrong) = (Statuses::new(), String::new());
        let mut failures = 0;
        for (request, answer) in answers {
            let counts = statuses.entry(request.operation.clone()).or_default();
            *counts.entry(answer.status).or_default() += 1;
            if let Err(what) = self.judge(&request, &answer) {
                failures += 1;
                if failures <= SHOWN {
                    let _ = writeln!(wrong, "{what}\n  of {request:?}\n  answered by {answer:?}");
                }
            }
        }
        assert!(failures == 0, "{failures} wrong answers\n{wrong}");
        for (operation, counts) in statuses {
            let succeeded = counts.keys().any(|status| (200..300).contains(status));
            let there = !counts.contains_key(&405);
            assert!(
                succeeded || !there,
                "{operation} never succeeded: {counts:?}"
            );
        }
    }

    /// Asks all operations without saying who asks, while users have to: those that the document wants a bearer token
    /// for, and no others, answer 401 and say how to come in.
    ///
    /// # Panics
    /// When one does not, or the document does not describe the token, or what is answered without it.
    pub async fn wants_tokens(&self, address: SocketAddr) {
        let scheme = &self.document["components"]["securitySchemes"]["Bearer"];
        let of_scheme = ["type", "scheme", "bearerFormat"].map(|member| &scheme[member]);
        assert_eq!(of_scheme, ["http", "bearer", "JWT"], "{scheme}");
        let mut wrong = String::new();
        for (path, item) in self.document["paths"].as_object().expect("paths") {
            for method in METHODS {
                let operation = &item[method];
                if operation.is_null() {
                    continue;
                }
                let place = self.somewhere(path);
                let upper = generate::upper(method);
                let answer = http::request(address, upper, &place, &[], "").await;
                let challenge = answer.header("www-authenticate").unwrap_or_default();
                let asked = answer.status == 401 && challenge.starts_with("Bearer ");
                let wants = security(operation).any(|(scheme, _)| scheme == "Bearer");
                if asked != wants {
                    let _ = writeln!(
                        wrong,
                        "{upper} {place}: the document wants a token: {wants}; the service: {answer:?}"
                    );
                }
                // Whoever does not use the switch needs none.
                let optional = !operation["security"].is_null() && !is_demanded(operation);
                let listed = ["401", "403"].map(|status| !operation["responses"][status].is_null());
                if wants && (!optional || listed != [true; 2]) {
                    let _ = writeln!(
                        wrong,
                        "{upper} {path}: the token is optional: {optional}; 401 and 403 are listed: {listed:?}"
                    );
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }

    /// The path with values for its parameters.
    fn somewhere(&self, path: &str) -> String {
        let mut place = path.to_owned();
        while let (Some(start), Some(end)) = (place.find('{'), place.find('}')) {
            let of_name = |(name, _): &&(&str, Vec<String>)| *name == &place[start + 1..end];
            let known = self.known.iter().find(of_name);
            let value = known.map_or("1", |(_, values)| &*values[0]).to_owned();
            place.replace_range(start..=end, &value);
        }
        place
    }

    fn requests(&self) -> Vec<Request> {
        let mut config = Config::default();
        if std::env::var_os("PROPTEST_CASES").is_none() {
            config.cases = CASES;
        }
        let cases = config.cases;
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(config, rng);
        let mut requests = Vec::new();
        let paths = self.document["paths"].as_object().expect("paths");
        for (path, item) in paths {
            for method in METHODS {
                let operation = &item[method];
                if operation.is_null() {
                    requests.push(self.of_no_operation(path, method));
                    continue;
                }
                requests.push(self.with_unknown_query(path, method, operation));
                let strategy = generate::request(self, path, method, operation);
                for _ in 0..cases {
                    let tree = strategy.new_tree(&mut runner).expect("a request");
                    requests.push(tree.current());
                }
            }
        }
        requests
    }

    /// A method that the path does not take: 405, which no document lists.
    fn of_no_operation(&self, path: &str, method: &'static str) -> Request {
        let problem = serde_json::json!({"405": {"content": {"application/problem+json": {
            "schema": {"$ref": "#/components/schemas/Problem"}}}}});
        Request {
            operation: format!("{method} {path}"),
            method: generate::upper(method),
            path: path.replace(['{', '}'], ""),
            headers: Vec::new(),
            body: String::new(),
            valid: false,
            expected: Some(405),
            responses: problem,
        }
    }

    /// A query parameter that no document has: 422, whatever else is asked.
    fn with_unknown_query(&self, path: &str, method: &'static str, operation: &Value) -> Request {
        let mut headers = Vec::new();
        if wants_login(operation) {
            headers = generate::admin_headers();
        }
        Request {
            operation: format!("{method} {path}"),
            method: generate::upper(method),
            path: format!("{}?not_in_the_document=1", path.replace(['{', '}'], "")),
            headers,
            body: String::new(),
            valid: false,
            expected: Some(422),
            responses: operation["responses"].clone(),
        }
    }

    fn judge(&self, request: &Request, answer: &Answer) -> Result<(), String> {
        let status = answer.status;
        if status >= 500 {
            return Err(format!("{status} although nothing is away"));
        }
        if request.valid && REFUSALS.contains(&status) {
            return Err(format!("{status} of what the document allows"));
        }
        if request.expected.is_some_and(|expected| expected != status) {
            return Err(format!("{status}, which is not {:?}", request.expected));
        }
        let promised = self.resolved(&request.responses[status.to_string()]);
        if promised.is_null() {
            return Err(format!("the document does not list {status}"));
        }
        let Some(contents) = promised["content"].as_object() else {
            return match answer.body.is_empty() {
                true => Ok(()),
                false => Err("the document promises no body".to_owned()),
            };
        };
        let given = answer.header("content-type").unwrap_or_default();
        let given = given.split(';').next().unwrap_or_default();
        if status >= 400 && given != "application/problem+json" {
            return Err(format!("{status} is a problem, and its body {given:?}"));
        }
        let Some(content) = contents.get(given) else {
            return Err(format!("the document promises no {given:?}"));
        };
        if !given.ends_with("json") {
            return Ok(());
        }
        let value: Value = serde_json::from_str(&answer.body)
            .map_err(|error| format!("the body is no JSON: {error}"))?;
        if status >= 400 && value["status"] != status {
            return Err(format!("the problem speaks of status {}", value["status"]));
        }
        schema::check(self, &content["schema"], &value)
            .map_err(|wrong| format!("the body is not as promised: {wrong}"))
    }

    /// What a `$ref` leads to; anything else is itself.
    fn resolved<'v>(&'v self, value: &'v Value) -> &'v Value {
        let Some(reference) = value["$ref"].as_str() else {
            return value;
        };
        let pointer = reference.strip_prefix('#').expect("a reference within");
        let found = self.document.pointer(pointer);
        self.resolved(found.unwrap_or_else(|| panic!("{reference} leads nowhere")))
    }
}

/// The security schemes of an operation, by name, each with its scopes.
fn security(operation: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let either = operation["security"].as_array().into_iter().flatten();
    let schemes = either.filter_map(Value::as_object).flatten();
    schemes.map(|(name, scopes)| (name.as_str(), scopes))
}

/// Whether nobody comes in without one of the schemes.
fn is_demanded(operation: &Value) -> bool {
    let either = operation["security"].as_array();
    either.is_some_and(|either| {
        either
            .iter()
            .all(|schemes| schemes != &serde_json::json!({}))
    })
}

/// Whether an operator's login is the only way in.
fn wants_login(operation: &Value) -> bool {
    is_demanded(operation) && security(operation).any(|(scheme, _)| scheme == "Admin")
}
