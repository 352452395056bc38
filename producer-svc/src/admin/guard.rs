//! Who is let in to the admin page and its API.
//!
//! Routes get behind it by `router.around(guard, Guard::let_through)`. In this order:
//!
//! 1. With the default password: this machine alone. 403 for a peer that is not loopback, for what a
//!    proxy has forwarded, and for a `Host` that is no name of this machine (a page elsewhere whose name
//!    was made to lead here, DNS rebinding). HTTP/1.0 is a proxy's, too: browsers have not spoken it for
//!    decades, and nginx up to 1.29.6 does unless told otherwise. A proxy on this machine that speaks
//!    HTTP/1.1, adds no header and writes its own `Host` cannot be told from a browser.
//! 2. HTTP Basic (RFC 7617): 401 without, 429 after too many wrong tries of one address.
//! 3. Browsers send the password with whatever another site makes them send. So what comes from
//!    another site is refused, save that one may follow a link, and what changes something says that
//!    it comes from the page itself: `Origin`, or, from programs that are no browser,
//!    `X-Requested-With`, which no other site can add.

mod tries;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use service::config::Secret;
use service::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use service::http::{HeaderMap, Method, Next, Problem, Request, Response, StatusCode, Version};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use tries::Tries;

pub(crate) const DEFAULT_PASSWORD: &str = "admin";

const CHALLENGE: &str = r#"Basic realm="shop administration", charset="UTF-8""#;

/// What a script of the page is told instead: at a challenge that a browser knows it would ask for a login
/// in the middle of something, and leave the question of the script open until then.
const CHALLENGE_OF_THE_PAGE: &str = r#"Page realm="shop administration""#;

/// By which proxies and content networks say that a request is another's, `x-forwarded-…` aside.
const FORWARDING: [&str; 9] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-forwarded-for",
    "x-envoy-external-address",
    "true-client-ip",
    "cf-connecting-ip",
];

/// Stands before an operator's routes; cloned for each.
#[derive(Clone)]
pub(crate) struct Guard(Arc<Inner>);

struct Inner {
    /// SHA-256 of `user:password`: of one length whatever is compared with it.
    credentials: [u8; 32],
    /// Whether the password is the one that everybody knows.
    default: bool,
    tries: Mutex<Tries>,
}

/// What of a request decides.
struct Asked<'a> {
    method: &'a Method,
    version: Version,
    peer: SocketAddr,
    host: Option<&'a str>,
    headers: &'a HeaderMap,
}

impl Guard {
    pub(crate) fn new(user: &str, password: &Secret) -> Self {
        let password = password.expose();
        Self(Arc::new(Inner {
            credentials: Sha256::digest(format!("{user}:{password}")).into(),
            default: password == DEFAULT_PASSWORD,
            tries: Mutex::default(),
        }))
    }

    /// Says so where the password is the default one.
    pub(crate) fn warn_of_default(&self) {
        if self.0.default {
            tracing::warn!(
                "/admin and /api/admin have the default password and answer on this machine alone: \
                 loopback, nothing forwarded. A proxy here that adds no header looks like a browser: set \
                 ADMIN_PASSWORD before you put one in front, and to use them from elsewhere."
            );
        }
    }

    /// For [`Router::around`](service::http::Router::around): whoever may goes on to the route. Every
    /// answer gets the headers that keep it out of caches and frames, unless it has its own.
    pub(crate) async fn let_through(
        self,
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        let answer = match self.check(&request) {
            Ok(()) => next.run(request).await,
            Err(problem) => Err(problem),
        };
        let mut response = answer.unwrap_or_else(Problem::into_response);
        harden(response.headers_mut());
        Ok(response)
    }

    /// Whether an operator asks.
    ///
    /// # Errors
    /// 401, 403 or 429; see the top of this file.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Problem> {
        let asked = Asked {
            method: request.method(),
            version: request.version(),
            peer: request.peer(),
            host: request.host(),
            headers: request.headers(),
        };
        self.admit(&asked, Instant::now())
    }

    /// As if nobody had tried a password yet.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn forget_tries(&self) {
        let mut tries = self.0.tries.lock().unwrap_or_else(PoisonError::into_inner);
        *tries = Tries::default();
    }

    fn admit(&self, asked: &Asked<'_>, now: Instant) -> Result<(), Problem> {
        if self.0.default {
            on_this_machine(asked)?;
        }
        self.authenticate(asked, now)?;
        from_the_page(asked)
    }

    fn authenticate(&self, asked: &Asked<'_>, now: Instant) -> Result<(), Problem> {
        let Some(given) = asked.headers.get(AUTHORIZATION) else {
            let detail = "name and password, please (HTTP Basic)";
            return Err(unauthorized(asked, detail));
        };
        let address = asked.peer.ip();
        let mut tries = self.0.tries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(wait) = tries.wait(address, now) {
            let seconds = wait.as_secs() + 1;
            let problem = Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("too many wrong passwords from this address; try again in {seconds} s"),
            );
            return Err(problem.header(RETRY_AFTER, HeaderValue::from(seconds)));
        }
        let given = credentials(given).map(Sha256::digest);
        if given.is_some_and(|given| bool::from(given[..].ct_eq(&self.0.credentials))) {
            return Ok(());
        }
        tries.wrong(address, now);
        Err(unauthorized(
            asked,
            "wrong name or password (ADMIN_USER, ADMIN_PASSWORD of the service)",
        ))
    }
}

fn unauthorized(asked: &Asked<'_>, detail: &'static str) -> Problem {
    let challenge = match asked.headers.get("x-requested-with") {
        Some(by) if by == "page" => CHALLENGE_OF_THE_PAGE,
        _ => CHALLENGE,
    };
    Problem::new(StatusCode::UNAUTHORIZED, detail)
        .header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

fn forbidden(detail: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
}

/// `user:password` of a header.
fn credentials(header: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, given) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    STANDARD.decode(given.trim()).ok()
}

/// What the default password is enough for.
fn on_this_machine(asked: &Asked<'_>) -> Result<(), Problem> {
    if !asked.peer.ip().to_canonical().is_loopback() {
        return Err(forbidden(
            "with the default password only this machine is answered; set ADMIN_PASSWORD to use the \
             page from elsewhere",
        ));
    }
    let forwards = |name: &str| FORWARDING.contains(&name) || name.starts_with("x-forwarded");
    let is_forwarded = asked.headers.keys().any(|name| forwards(name.as_str()));
    if is_forwarded || asked.version < Version::HTTP_11 {
        return Err(forbidden(
            "with the default password no forwarded request is answered, and none in HTTP/1.0, as \
             proxies make them; set ADMIN_PASSWORD to use the page through a proxy",
        ));
    }
    if !asked.host.is_some_and(is_loopback_name) {
        return Err(forbidden(
            "with the default password only localhost, 127.0.0.1 and [::1] are answered as Host; set \
             ADMIN_PASSWORD to use the page by another name",
        ));
    }
    Ok(())
}

fn is_loopback_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Refuses what another site made a browser send.
fn from_the_page(asked: &Asked<'_>) -> Result<(), Problem> {
    let header = |name: &'static str| asked.headers.get(name).map(HeaderValue::as_bytes);
    let site = header("sec-fetch-site");
    let reads = [Method::GET, Method::HEAD].contains(asked.method);
    if reads {
        let linked = header("sec-fetch-mode") == Some(b"navigate");
        return match site {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) if linked => Ok(()),
            Some(_) => Err(forbidden("other sites may not ask for this")),
        };
    }
    if site.is_some_and(|site| site != b"same-origin") {
        return Err(forbidden("other sites may not change anything here"));
    }
    match asked.headers.get(ORIGIN).map(HeaderValue::to_str) {
        Some(Ok(origin)) if asked.host.is_some_and(|host| is_of(origin, host)) => Ok(()),
        Some(_) => Err(forbidden(
            "the Origin is not this Host's: other sites may not change anything here (a proxy has to \
             pass Host on)",
        )),
        None if asked.headers.contains_key("x-requested-with") => Ok(()),
        None => Err(forbidden(
            "what changes something needs an Origin, as browsers send it, or a header \
             X-Requested-With (curl -H 'X-Requested-With: curl')",
        )),
    }
}

/// Whether an origin is of this host. Which scheme the client uses, a proxy before us alone knows.
fn is_of(origin: &str, host: &str) -> bool {
    let with = |scheme: &str, port: &str| {
        let authority = origin.strip_prefix(scheme)?;
        // Browsers leave a default port out; other clients may not.
        let host = host.strip_suffix(port).unwrap_or(host);
        let authority = authority.strip_suffix(port).unwrap_or(authority);
        Some(authority.eq_ignore_ascii_case(host))
    };
    with("http://", ":80")
        .or_else(|| with("https://", ":443"))
        .unwrap_or(false)
}

fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (X_FRAME_OPTIONS, "DENY"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests;
