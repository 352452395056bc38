use super::*;

/// A request as `name: value` lines; `peer`, `method` and `host` say what they say.
struct Sent {
    method: Method,
    version: Version,
    peer: SocketAddr,
    host: Option<&'static str>,
    headers: HeaderMap,
}

impl Sent {
    fn get() -> Self {
        Self {
            method: Method::GET,
            version: Version::HTTP_11,
            peer: "127.0.0.1:5000".parse().unwrap(),
            host: Some("localhost:8080"),
            headers: HeaderMap::new(),
        }
    }

    fn post() -> Self {
        Self {
            method: Method::POST,
            ..Self::get()
        }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(name, HeaderValue::from_static(value));
        self
    }

    fn by(self, user: &str, password: &str) -> Self {
        let value = STANDARD.encode(format!("{user}:{password}"));
        let mut sent = self;
        sent.headers.insert(
            AUTHORIZATION,
            HeaderValue::try_from(format!("Basic {value}")).unwrap(),
        );
        sent
    }

    fn from(mut self, peer: &str) -> Self {
        self.peer = peer.parse().unwrap();
        self
    }

    fn to(mut self, host: &'static str) -> Self {
        self.host = Some(host);
        self
    }

    /// Status of the refusal, or 200; and the whole document.
    fn answered_by(&self, guard: &Guard) -> (u16, String) {
        let asked = Asked {
            method: &self.method,
            version: self.version,
            peer: self.peer,
            host: self.host,
            headers: &self.headers,
        };
        match guard.admit(&asked, Instant::now()) {
            Ok(()) => (200, String::new()),
            Err(problem) => (problem.status().as_u16(), format!("{problem:?}")),
        }
    }
}

fn guard(password: &str) -> Guard {
    Guard::new("admin", &Secret::new(password))
}

#[test]
fn the_right_name_and_password_alone_are_let_in() {
    let guard = guard("пароль:1");
    for (user, password, status) in [
        ("admin", "пароль:1", 200),
        ("admin", "пароль:2", 401),
        ("admin", "пароль:", 401),
        ("admin", "", 401),
        ("root", "пароль:1", 401),
        ("", "", 401),
    ] {
        let (answered, document) = Sent::get().by(user, password).answered_by(&guard);
        assert_eq!(answered, status, "{user} {password}");
        assert!(!document.contains("пароль"), "{document}");
    }
    let (status, document) = Sent::get().answered_by(&guard);
    assert_eq!(status, 401);
    assert!(
        document.contains(r#"Basic realm=\"shop administration\", charset=\"UTF-8\""#),
        "{document}"
    );
    for other in ["Bearer YWRtaW46c2VjcmV0", "Basic", "Basic %%%", "Basic YQ"] {
        let sent = Sent::get().with("authorization", other);
        assert_eq!(sent.answered_by(&guard).0, 401, "{other}");
    }
    // RFC 7617: the scheme's case does not count.
    let sent = Sent::get().with("authorization", "bAsIc YWRtaW46c2VjcmV0");
    let secret = Guard::new("admin", &Secret::new("secret"));
    assert_eq!(sent.answered_by(&secret).0, 200);
}

#[test]
fn guessing_takes_its_time() {
    let guard = guard("secret");
    let from = |sent: Sent| sent.from("192.0.2.7:1");
    for _ in 0..20 {
        assert_eq!(
            from(Sent::get().by("admin", "guess")).answered_by(&guard).0,
            401
        );
    }
    let right = || Sent::get().by("admin", "secret");
    let (status, document) = from(right()).answered_by(&guard);
    assert_eq!(status, 429);
    assert!(document.contains("retry-after"), "{document}");
    assert_eq!(right().from("192.0.2.8:1").answered_by(&guard).0, 200);
}

#[test]
fn the_default_password_is_good_on_this_machine_alone() {
    let default = guard(DEFAULT_PASSWORD);
    let own = guard("secret");
    let sent = || Sent::get().by("admin", "admin");
    for (peer, host) in [
        ("127.0.0.1:9", "localhost:8080"),
        ("127.8.7.6:9", "LOCALHOST."),
        ("[::1]:9", "[::1]:8080"),
        ("[::ffff:127.0.0.1]:9", "127.0.0.1"),
        ("127.0.0.1:9", "shop.localhost:8080"),
    ] {
        let answered = sent().from(peer).to(host).answered_by(&default);
        assert_eq!(answered.0, 200, "{peer} {host}");
    }
    let refused = |sent: Sent, why: &str| {
        let (status, document) = sent.by("admin", "admin").answered_by(&default);
        assert_eq!(status, 403, "{why}");
        assert!(document.contains("set ADMIN_PASSWORD"), "{document}");
        // With a password of one's own it is the password that decides.
        assert_eq!(sent_again(why).answered_by(&own).0, 200, "{why}");
    };
    fn sent_again(why: &str) -> Sent {
        let sent = Sent::get().by("admin", "secret");
        match why {
            "peer" => sent.from("192.0.2.7:9"),
            "host" => sent.to("shop.example"),
            "version" => Sent {
                version: Version::HTTP_10,
                ..sent
            },
            _ => sent.with("x-forwarded-for", "127.0.0.1"),
        }
    }
    for peer in [
        "192.0.2.7:9",
        "10.0.0.1:9",
        "[fe80::1]:9",
        "[::ffff:10.0.0.1]:9",
    ] {
        refused(Sent::get().from(peer), "peer");
    }
    for host in [
        "shop.example",
        "localhost.example:8080",
        "notlocalhost",
        "127.0.0.1.example",
        "0.0.0.0:8080",
        "",
    ] {
        refused(Sent::get().to(host), "host");
    }
    refused(
        Sent {
            host: None,
            ..Sent::get()
        },
        "host",
    );
    for header in [
        "forwarded",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-forwarded",
        "x-real-ip",
        "cf-connecting-ip",
        "true-client-ip",
    ] {
        refused(Sent::get().with(header, "127.0.0.1"), "forwarded");
    }
    // What nginx sends on by `proxy_pass http://127.0.0.1:8080` and nothing else (before 1.29.7).
    refused(
        Sent {
            version: Version::HTTP_10,
            ..Sent::get().to("127.0.0.1:8080")
        },
        "version",
    );
    // Before anybody is asked for a password.
    assert_eq!(Sent::get().from("192.0.2.7:9").answered_by(&default).0, 403);
}

#[test]
fn only_the_page_and_programs_change_something() {
    let guard = guard("secret");
    let post = || Sent::post().by("admin", "secret");
    for allowed in [
        post().with("origin", "http://localhost:8080"),
        post()
            .with("origin", "http://localhost:8080")
            .with("sec-fetch-site", "same-origin"),
        post()
            .with("origin", "https://SHOP.example")
            .to("shop.example"),
        post()
            .with("origin", "http://shop.example")
            .to("shop.example:80"),
        post().with("x-requested-with", "curl"),
    ] {
        let answered = allowed.answered_by(&guard);
        assert_eq!(answered.0, 200, "{:?} {}", allowed.headers, answered.1);
    }
    for refused in [
        post(),
        post().with("origin", "null"),
        post().with("origin", "http://evil.example"),
        post().with("origin", "http://localhost:8081"),
        post().with("origin", "http://localhost:8080.evil.example"),
        post().with("origin", "file://localhost:8080"),
        post()
            .with("origin", "http://evil.example")
            .with("x-requested-with", "x"),
        post()
            .with("origin", "http://localhost:8080")
            .with("sec-fetch-site", "cross-site"),
        post()
            .with("sec-fetch-site", "same-site")
            .with("x-requested-with", "x"),
    ] {
        assert_eq!(refused.answered_by(&guard).0, 403, "{:?}", refused.headers);
    }
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let sent = Sent { method, ..post() };
        assert_eq!(sent.answered_by(&guard).0, 403);
    }
    // Who is not let in is not told about origins.
    let stranger = Sent::post().with("origin", "http://evil.example");
    assert_eq!(stranger.answered_by(&guard).0, 401);
}

#[test]
fn other_sites_may_link_here_and_not_more() {
    let guard = guard("secret");
    let get = |site| {
        Sent::get()
            .by("admin", "secret")
            .with("sec-fetch-site", site)
    };
    assert_eq!(get("same-origin").answered_by(&guard).0, 200);
    assert_eq!(get("none").answered_by(&guard).0, 200);
    let linked = get("cross-site").with("sec-fetch-mode", "navigate");
    assert_eq!(linked.answered_by(&guard).0, 200);
    for mode in ["no-cors", "cors", "websocket"] {
        let embedded = get("cross-site").with("sec-fetch-mode", mode);
        assert_eq!(embedded.answered_by(&guard).0, 403, "{mode}");
    }
}
