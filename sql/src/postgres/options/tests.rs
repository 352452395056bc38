use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tokio_postgres::config::ChannelBinding;

use super::*;

fn parse(url: &str) -> Result<PostgresOptions, Error> {
    PostgresOptions::parse_with(url, |_| None)
}

fn parse_in(url: &str, variables: &[(&str, &str)]) -> Result<PostgresOptions, Error> {
    PostgresOptions::parse_with(url, |name| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn mistake_in(url: &str) -> String {
    match parse(url) {
        Err(Error::Configuration(text)) => text,
        Err(other) => panic!("{url}: {other}"),
        Ok(options) => panic!("{url} is taken: {options:?}"),
    }
}

fn tcp(host: &str, port: u16) -> Server {
    Server::Tcp {
        host: host.to_owned(),
        port,
        address: None,
    }
}

fn tcp_at(host: &str, port: u16, address: &str) -> Server {
    Server::Tcp {
        host: host.to_owned(),
        port,
        address: Some(address.parse().unwrap()),
    }
}

#[test]
fn a_url_says_who_where_and_which() {
    let options = parse("postgres://us%40er:p%40ss@wo%2Frd@db.example:5433/ca%20rts").unwrap();
    assert_eq!(options.servers, [tcp("db.example", 5433)]);
    assert_eq!(options.config.get_user(), Some("us@er"));
    assert_eq!(options.config.get_password(), Some(&b"p@ss@wo/rd"[..]));
    assert_eq!(options.config.get_dbname(), Some("ca rts"));
    // The same as parameters, which win.
    let options = parse(
        "postgresql://x:x@x:1/x?user=me&password=a+b&host=db&port=5433&dbname=shop&\
         application_name=carts",
    );
    let options = options.unwrap();
    assert_eq!(options.servers, [tcp("db", 5433)]);
    assert_eq!(options.config.get_user(), Some("me"));
    assert_eq!(options.config.get_password(), Some(&b"a b"[..]));
    assert_eq!(options.config.get_dbname(), Some("shop"));
    assert_eq!(options.config.get_application_name(), Some("carts"));
}

#[test]
fn hosts_are_names_addresses_and_sockets() {
    let socket = |file: &str| Server::Socket(PathBuf::from(file));
    for (url, servers) in [
        ("postgres://db/x", vec![tcp("db", 5432)]),
        ("POSTGRES://u@db:1/x?", vec![tcp("db", 1)]),
        ("postgres://u@[::1]/x", vec![tcp("::1", 5432)]),
        ("postgres://[fd00::7]:5433", vec![tcp("fd00::7", 5433)]),
        ("postgres://10.0.0.7", vec![tcp("10.0.0.7", 5432)]),
        (
            "postgres://me@%2Frun%2Fpostgresql/x",
            vec![socket("/run/postgresql/.s.PGSQL.5432")],
        ),
        (
            "postgres:///x?host=/run/postgresql&port=1",
            vec![socket("/run/postgresql/.s.PGSQL.1")],
        ),
        (
            "postgres://a:1,b,[::1]:3/x",
            vec![tcp("a", 1), tcp("b", 5432), tcp("::1", 3)],
        ),
        (
            "postgres:///?host=a,b&port=7",
            vec![tcp("a", 7), tcp("b", 7)],
        ),
        (
            "postgres://db/x?hostaddr=10.0.0.7",
            vec![tcp_at("db", 5432, "10.0.0.7")],
        ),
        (
            "postgres:///x?hostaddr=::1",
            vec![tcp_at("::1", 5432, "::1")],
        ),
    ] {
        assert_eq!(parse(url).unwrap().servers, servers, "{url}");
    }
    assert_eq!(tcp("db", 1).to_string(), "db:1");
    assert_eq!(tcp("::1", 2).to_string(), "[::1]:2");
}

#[test]
fn variables_stand_in_for_what_the_url_leaves_out() {
    let variables = [
        ("PGHOST", "db"),
        ("PGPORT", "5433"),
        ("PGUSER", "me"),
        ("PGPASSWORD", "secret"),
        ("PGDATABASE", "carts"),
        ("PGAPPNAME", ""),
        ("PGOPTIONS", "-c a=b"),
    ];
    let options = parse_in("postgres://", &variables).unwrap();
    assert_eq!(options.servers, [tcp("db", 5433)]);
    assert_eq!(options.config.get_user(), Some("me"));
    assert_eq!(options.config.get_password(), Some(&b"secret"[..]));
    assert_eq!(options.config.get_dbname(), Some("carts"));
    assert_eq!(options.config.get_application_name(), None);
    let options = parse_in("postgres://you@other:1/x?options=-cc%3Dd", &variables).unwrap();
    assert_eq!(options.servers, [tcp("other", 1)]);
    assert_eq!(options.config.get_user(), Some("you"));
    assert_eq!(options.config.get_dbname(), Some("x"));
    assert_eq!(options.config.get_options(), Some("-c a=b -cc=d"));
    // The address of another host.
    let address = [("PGHOSTADDR", "10.0.0.7")];
    let options = parse_in("postgres://other", &address).unwrap();
    assert_eq!(options.servers, [tcp("other", 5432)]);
    let options = parse_in("postgres://", &address).unwrap();
    assert_eq!(options.servers, [tcp_at("10.0.0.7", 5432, "10.0.0.7")]);
    let error = parse_in("postgres://h", &[("PGSSLMODE", "loud")]).unwrap_err();
    assert!(error.to_string().starts_with("PGSSLMODE: "), "{error}");
}

#[test]
fn a_file_has_the_password_that_the_url_leaves_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".pgpass");
    let lines = "db:5433:carts:me:one\nlocalhost:5432:me:me:two\n/s:5432:*:*:three\n";
    fs::write(&file, lines).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let home = ("HOME", folder.path().to_str().unwrap());
    let passfile = ("PGPASSFILE", file.to_str().unwrap());
    let nowhere = ("HOME", "/nowhere");
    for (url, variables, expected) in [
        ("postgres://me@db:5433/carts", vec![home], Some("one")),
        (
            "postgres://me@db:5433/carts",
            vec![nowhere, passfile],
            Some("one"),
        ),
        ("postgres://me@db:5433/carts", vec![nowhere], None),
        ("postgres://me:x@db:5433/carts", vec![home], Some("x")),
        ("postgres://me@other,db:5433/carts", vec![home], Some("one")),
        (
            "postgres://localhost",
            vec![home, ("USER", "me")],
            Some("two"),
        ),
        ("postgres://me@%2Ftmp", vec![home], Some("two")),
        ("postgres://me@%2Fs/x", vec![home], Some("three")),
        ("postgres://you@db:5433/carts", vec![home], None),
    ] {
        let options = parse_in(url, &variables).unwrap();
        let expected = expected.map(str::as_bytes);
        assert_eq!(options.config.get_password(), expected, "{url}");
    }
}

#[test]
fn settings_of_the_server_are_gathered() {
    for (query, expected) in [
        (
            "options=-c%20synchronous_commit%3Doff%20--search_path%3Dt",
            "-c synchronous_commit=off --search_path=t",
        ),
        (
            "options[search_path]=a,%20b&options[x.y]=c\\d",
            r"-c search_path=a,\ b -c x.y=c\\d",
        ),
        ("options=-ca%3Db&options[c]=d", "-ca=b -c c=d"),
    ] {
        let options = parse(&format!("postgres://h/x?{query}")).unwrap();
        assert_eq!(options.config.get_options(), Some(expected), "{query}");
    }
}

#[test]
fn channel_binding_is_as_said() {
    for (query, expected) in [
        ("", ChannelBinding::Prefer),
        ("channel_binding=prefer", ChannelBinding::Prefer),
        ("channel_binding=require", ChannelBinding::Require),
        ("channel_binding=disable", ChannelBinding::Disable),
    ] {
        let options = parse(&format!("postgres://h/x?{query}")).unwrap();
        assert_eq!(options.config.get_channel_binding(), expected, "{query}");
    }
}

/// How it is encrypted: always, where offered or never, and whether the name is checked.
fn encryption(query: &str) -> (&'static str, bool) {
    match parse(&format!("postgres://h/x?{query}"))
        .unwrap()
        .encryption
    {
        Encryption::Never => ("never", false),
        Encryption::Offered(tls) => ("offered", tls.checks_name()),
        Encryption::Always(tls) => ("always", tls.checks_name()),
    }
}

#[test]
fn modes_of_encryption_and_their_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("ca.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["h".to_owned()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    fs::write(&authority, pem).unwrap();
    let authority = authority.display();
    for (query, expected) in [
        (String::new(), ("offered", false)),
        ("sslmode=disable".to_owned(), ("never", false)),
        ("sslmode=allow".to_owned(), ("offered", false)),
        ("ssl-mode=prefer".to_owned(), ("offered", false)),
        ("sslmode=Require".to_owned(), ("always", false)),
        (
            format!("sslmode=require&sslrootcert={authority}"),
            ("always", false),
        ),
        (
            format!("sslmode=verify-ca&ssl-root-cert={authority}"),
            ("always", false),
        ),
        (
            format!("sslmode=verify-full&ssl-ca={authority}"),
            ("always", true),
        ),
        ("statement-cache-capacity=9".to_owned(), ("offered", false)),
    ] {
        assert_eq!(encryption(&query), expected, "{query}");
    }
    // No certificate can be for this name.
    let url = |mode| format!("postgres://a..b/x?sslmode={mode}&sslrootcert={authority}");
    parse(&url("verify-ca")).unwrap();
    assert!(mistake_in(&url("verify-full")).starts_with("host: "));
}

#[test]
fn mistakes_name_the_parameter_and_never_show_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let empty = empty.display();
    for (url, part) in [
        ("mysql://u:hunter2@h/x", "postgres://"),
        ("postgres:u:hunter2@h/x", "postgres://"),
        ("postgres://u:hunter2@h:99999/x", "port: "),
        ("postgres://u:hunter2@h:0/x", "port: "),
        ("postgres://u:hunter2@h:port/x", "port: "),
        ("postgres://u:hunter2/2@h/x", "%2F"),
        ("postgres://u:hunter2#2@h/x", "%23"),
        ("postgres://u:hunter2?2@h/x", "not shown"),
        ("postgres://u:hunter2?hunter2=2@h/x", "not shown"),
        ("postgres://u:hunter2%FF@h/x", "password: "),
        ("postgres://u:hunter2%00@h/x", "password: "),
        ("postgres://u:hunter2@a b/x", "host: "),
        ("postgres://u:hunter2@a,,b/x", "host: "),
        ("postgres://u:hunter2@a,b/x?port=1,2,3", "port: "),
        (
            "postgres://u:hunter2@a/x?hostaddr=1.2.3.4,::1",
            "hostaddr: ",
        ),
        ("postgres://u:hunter2@h/x?hostaddr=db", "hostaddr: "),
        ("postgres://u:hunter2@h/x?sslmode=loud", "sslmode: "),
        ("postgres://u:hunter2@h/x?sslmode=", "sslmode: "),
        (
            "postgres://u:hunter2@h/x?sslmode=prefer&sslrootcert=system",
            "sslmode: ",
        ),
        (
            "postgres://u:hunter2@h/x?channel_binding=yes",
            "channel_binding: ",
        ),
        (
            "postgres://u:hunter2@h/x?sslmode=require&sslrootcert=/none.pem",
            "sslrootcert: /none.pem cannot be read: ",
        ),
        (
            &format!("postgres://u:hunter2@h/x?sslmode=require&sslrootcert={empty}"),
            "empty.pem holds no certificate in PEM",
        ),
        (
            "postgres://u:hunter2@h/x?sslcert=/none.pem",
            "sslkey: is missing",
        ),
        (
            "postgres://u:hunter2@h/x?sslkey=/none.pem",
            "sslcert: is missing",
        ),
        (
            "postgres://u:hunter2@h/x?sslcert=/none.pem&sslkey=/none.pem",
            "sslcert: /none.pem cannot be read: ",
        ),
        (
            "postgres://u:hunter2@h/x?sslmod=require",
            "\"sslmod\" behind the question mark; known are sslmode, ",
        ),
        ("postgres://u:hunter2@h/x?%73slmod=require", "\"sslmod\""),
        ("postgres://h/x?hunter2@=1", "not shown"),
    ] {
        let text = mistake_in(url);
        assert!(text.contains(part), "{part:?} of {url}: {text}");
        assert!(!text.contains("hunter2"), "{url}: {text}");
    }
    let options = parse("postgres://u:hunter2@h/x").unwrap();
    assert!(!format!("{options:?}").contains("hunter2"));
}
