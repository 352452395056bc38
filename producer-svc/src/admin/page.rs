//! `GET /admin`: the page, in files that are part of the binary. It loads nothing from elsewhere, and
//! its scripts get no more than the policy allows: no inline script, no HTML made of text.

use bytes::Bytes;
use service::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, LOCATION,
};
use service::http::{Problem, Request, Response, Router, StatusCode, empty, text};
use sha2::{Digest, Sha256};

/// Scripts, styles and connections of this origin alone; no frames, forms or plugins; and text only
/// becomes HTML by way of a policy, of which there is none (Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

#[derive(Clone)]
struct File {
    media_type: &'static str,
    content: &'static str,
    etag: HeaderValue,
}

macro_rules! files {
    ($($path:literal, $name:literal, $media_type:literal;)*) => {
        Router::new()$(.get($path, File::new($media_type, include_str!(concat!("page/", $name))), serve))*
    };
}

/// The page and what it loads.
pub(super) fn routes() -> Router {
    files! {
        "/admin", "index.html", "text/html; charset=utf-8";
        "/admin/style.css", "style.css", "text/css; charset=utf-8";
        "/admin/icon.svg", "icon.svg", "image/svg+xml";
        "/admin/app.js", "app.js", "text/javascript; charset=utf-8";
        "/admin/elements.js", "elements.js", "text/javascript; charset=utf-8";
        "/admin/charts.js", "charts.js", "text/javascript; charset=utf-8";
        "/admin/server.js", "server.js", "text/javascript; charset=utf-8";
        "/admin/figures.js", "figures.js", "text/javascript; charset=utf-8";
        "/admin/orders.js", "orders.js", "text/javascript; charset=utf-8";
        "/admin/cluster.js", "cluster.js", "text/javascript; charset=utf-8";
        "/admin/letters.js", "letters.js", "text/javascript; charset=utf-8";
    }
    .get("/admin/", (), async |(), _: Request| {
        let mut moved = empty(StatusCode::PERMANENT_REDIRECT);
        moved
            .headers_mut()
            .insert(LOCATION, HeaderValue::from_static("/admin"));
        Ok(moved)
    })
}

impl File {
    fn new(media_type: &'static str, content: &'static str) -> Self {
        let digest = Sha256::digest(content);
        let tag: String = digest.iter().take(8).map(|b| format!("{b:02x}")).collect();
        Self {
            media_type,
            content,
            etag: HeaderValue::try_from(format!("\"{tag}\"")).expect("hexadecimal digits"),
        }
    }
}

/// Kept by browsers, and asked for again each time: what is unchanged is a 304.
async fn serve(file: File, request: Request) -> Result<Response, Problem> {
    let known = request.header(IF_NONE_MATCH).unwrap_or_default();
    let known = known
        .split(',')
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == file.etag || tag == "*");
    let mut response = if known {
        empty(StatusCode::NOT_MODIFIED)
    } else {
        text(StatusCode::OK, Bytes::from_static(file.content.as_bytes()))
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, file.media_type),
        (CACHE_CONTROL, "private, no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(ETAG, file.etag.clone());
    Ok(response)
}
