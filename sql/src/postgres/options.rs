//! How to reach a PostgreSQL, as its URL says.

mod passfile;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use tokio_postgres::Config;
use tokio_postgres::config::ChannelBinding;

use super::tls::{self, Check, Identity, Tls, Trust, mistake};
use crate::Error;

/// PostgreSQL's port where nothing names another.
const PORT: u16 = 5432;

/// Where a server's socket is by default: Debian's folder, Homebrew's, PostgreSQL's own.
const SOCKET_FOLDERS: [&str; 3] = ["/var/run/postgresql", "/private/tmp", "/tmp"];

/// Other names of parameters.
const ALIASES: [(&str, &str); 5] = [
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
];

/// Accepted and without effect: no statement stays prepared on a connection.
const PASSED_OVER: &str = "statement-cache-capacity";

/// The variables of libpq, where the URL does not say it. Those of the host are on their own.
const VARIABLES: [(&str, &str); 11] = [
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("dbname", "PGDATABASE"),
    ("application_name", "PGAPPNAME"),
    ("options", "PGOPTIONS"),
];

/// How to reach a PostgreSQL, as its URL says.
///
/// `postgres://USER:PASSWORD@HOST:PORT/NAME?PARAMETER=VALUE`, with everything but the scheme left out at will, as libpq
/// takes it. What the URL does not say is taken from libpq's variables (`PGHOST`, `PGUSER` and so on); then the host
/// is the folder of a local server's socket, else `localhost`, the port 5432, the user the operating system's, the
/// database the user's name, and the password that of `PGPASSFILE`, else `~/.pgpass`.
///
/// # Several hosts
/// `HOST:PORT,HOST:PORT` are tried in this order until one takes the connection.
///
/// # Encryption
/// `sslmode` as libpq means it; with sockets in a folder it means nothing.
///
/// | sslmode | encrypted | the certificate is checked |
/// |---|---|---|
/// | `disable` | never | |
/// | `allow`, `prefer` (the default) | where the server offers it and the handshake succeeds | no |
/// | `require` | always | only where `sslrootcert` is given: as `verify-ca` |
/// | `verify-ca` | always | that an authority of `sslrootcert` signed it |
/// | `verify-full` | always | and that it is for the host |
///
/// `sslrootcert`, a PEM file, is by default what the operating system trusts; so it is with the value `system`, which
/// makes `verify-full` the default. `sslcert` and `sslkey` are this client's own certificate and key, shown where the
/// server asks for them. The files are read once: a renewed certificate needs new options.
/// `channel_binding` is `prefer` (the default), `require` or `disable`.
#[derive(Clone)]
pub struct PostgresOptions {
    servers: Vec<Server>,
    encryption: Encryption,
    config: Config,
}

/// One of the servers of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// The file of a local server's socket.
    Socket(PathBuf),
    Tcp {
        /// A name or an address: what the certificate has to be for.
        host: String,
        port: u16,
        /// Where to connect to instead of looking up the name.
        address: Option<IpAddr>,
    },
}

/// Which connections are encrypted.
#[derive(Clone)]
pub(super) enum Encryption {
    Never,
    /// Where the server offers it.
    Offered(Tls),
    Always(Tls),
}

impl PostgresOptions {
    /// The names of the parameters behind the question mark of a URL. `options[NAME]=VALUE` sets one of the server's
    /// settings; `ssl-mode`, `ssl-root-cert`, `ssl-ca`, `ssl-cert` and `ssl-key` are accepted, too.
    pub const PARAMETERS: &[&str] = &[
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "channel_binding",
        "host",
        "hostaddr",
        "port",
        "user",
        "password",
        "dbname",
        "application_name",
        "options",
    ];

    /// Reads a URL, and the files that it names.
    ///
    /// # Errors
    /// [`Error::Configuration`]: what is wrong, by the name of the parameter. Shows neither the password nor any
    /// part of the URL that may hold one.
    pub fn parse(url: &str) -> Result<Self, Error> {
        Self::parse_with(url, |variable| std::env::var(variable).ok())
    }

    fn parse_with(url: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut given = Given::default();
        given.read_url(url)?;
        given.read_variables(&variable);
        let servers = given.servers()?;
        given.read_passwords(&servers, variable);
        let encryption = given.encryption()?;
        if let Encryption::Always(tls) = &encryption
            && tls.checks_name()
        {
            for server in &servers {
                server.check_name()?;
            }
        }
        Ok(Self {
            servers,
            encryption,
            config: given.config()?,
        })
    }

    /// In the order in which to try them.
    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    pub(super) fn encryption(&self) -> &Encryption {
        &self.encryption
    }

    /// Who connects, to which database.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("servers", &self.servers)
            .field("database", &self.config.get_dbname())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Host and port, as a file of passwords has them.
    fn login(&self) -> (String, String) {
        match self {
            Self::Tcp { host, port, .. } => (host.clone(), port.to_string()),
            Self::Socket(file) => {
                let folder = file.parent().unwrap_or(file).display().to_string();
                let port = file.extension().unwrap_or_default();
                let is_default = SOCKET_FOLDERS.contains(&folder.as_str());
                let host = if is_default {
                    "localhost".to_owned()
                } else {
                    folder
                };
                (host, port.display().to_string())
            }
        }
    }

    fn check_name(&self) -> Result<(), Error> {
        match self {
            Self::Tcp { host, .. } if ServerName::try_from(host.as_str()).is_err() => Err(mistake(
                "host",
                "is no name that a certificate can be for (sslmode=verify-full)",
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(file) => write!(f, "{}", file.display()),
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

/// What URL and variables say, by the name of the parameter.
#[derive(Default)]
struct Given(BTreeMap<&'static str, Value>);

struct Value {
    text: String,
    /// The parameter or the variable, for messages.
    from: &'static str,
}

impl Given {
    fn read_url(&mut self, url: &str) -> Result<(), Error> {
        let unknown_scheme =
            || Error::Configuration("the URL has to begin with postgres://".into());
        let (scheme, rest) = url.split_once("://").ok_or_else(unknown_scheme)?;
        if !["postgres", "postgresql"].contains(&&*scheme.to_ascii_lowercase()) {
            return Err(unknown_scheme());
        }
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // What looks like host and port would be the beginning of a password.
        if path.contains('@') || fragment.contains('@') {
            return Err(Error::Configuration(
                "the URL has an @ behind the host: write / and # in the user's name and in the password as %2F \
                 and %23, and @ in the database's name as %40"
                    .into(),
            ));
        }
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        self.set("user", decoded("user", user)?);
        self.set("password", decoded("password", password)?);
        self.set("dbname", decoded("dbname", path.trim_start_matches('/'))?);
        self.read_hosts(hosts)?;
        self.read_parameters(query, authority.contains('@'))?;
        for Value { text, from } in self.0.values() {
            if text.contains('\0') {
                return Err(mistake(from, "holds a zero byte"));
            }
        }
        Ok(())
    }

    /// `HOST:PORT,HOST:PORT`, each part of it optional.
    fn read_hosts(&mut self, hosts: &str) -> Result<(), Error> {
        let mut names = Vec::new();
        let mut ports = Vec::new();
        for host in hosts.split(',') {
            // The colons of an address in brackets are its own.
            let name_end = host.rfind(']').unwrap_or(0);
            let (name, port) = match host[name_end..].find(':') {
                Some(colon) => (&host[..name_end + colon], &host[name_end + colon + 1..]),
                None => (host, ""),
            };
            let bare = name
                .strip_prefix('[')
                .and_then(|name| name.strip_suffix(']'));
            names.push(decoded("host", bare.unwrap_or(name))?);
            ports.push(port);
        }
        if names.iter().any(|name| !name.is_empty()) {
            self.set("host", names.join(","));
        }
        if ports.iter().any(|port| !port.is_empty()) {
            self.set("port", ports.join(","));
        }
        Ok(())
    }

    /// `has_user`: there was an @ in front of the host.
    fn read_parameters(&mut self, query: &str, has_user: bool) -> Result<(), Error> {
        for (name, text) in form_urlencoded::parse(query.as_bytes()) {
            let setting = name.strip_prefix("options[");
            if let Some(setting) = setting.and_then(|name| name.strip_suffix(']')) {
                self.add_options(&format!("-c {}={}", escaped(setting), escaped(&text)));
                continue;
            }
            let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
            let name = alias.map_or(&*name, |(_, name)| name);
            match Self::known(name) {
                Some("options") => self.add_options(&text),
                Some(name) => self.set(name, text.into_owned()),
                None if name == PASSED_OVER => {}
                // Without an @ in front, one behind is that of a password with a question mark.
                None => return Err(unknown(name, has_user || !query.contains('@'))),
            }
        }
        Ok(())
    }

    fn known(name: &str) -> Option<&'static str> {
        let parameters = PostgresOptions::PARAMETERS;
        parameters.iter().copied().find(|known| *known == name)
    }

    fn read_variables(&mut self, variable: impl Fn(&str) -> Option<String>) {
        let read = |from| {
            let text = variable(from).filter(|text| !text.is_empty());
            text.map(|text| Value { text, from })
        };
        // A host of the URL is not sent to the address of another.
        let hosts = [("host", "PGHOST"), ("hostaddr", "PGHOSTADDR")];
        if !hosts.iter().any(|(name, _)| self.0.contains_key(name)) {
            let found = hosts.map(|(name, from)| Some((name, read(from)?)));
            self.0.extend(found.into_iter().flatten());
        }
        for (name, from) in VARIABLES {
            let Some(value) = read(from) else {
                continue;
            };
            let of_url = self.0.insert(name, value);
            match of_url {
                // Those of the URL come later and so win.
                Some(of_url) if name == "options" => self.add_options(&of_url.text),
                Some(of_url) => {
                    self.0.insert(name, of_url);
                }
                None => {}
            }
        }
    }

    /// An empty one is one that is not given, except where it would choose how secure the connection is.
    fn set(&mut self, name: &'static str, text: String) {
        if !text.is_empty() || ["sslmode", "channel_binding"].contains(&name) {
            self.0.insert(name, Value { text, from: name });
        }
    }

    fn add_options(&mut self, options: &str) {
        match self.0.get_mut("options") {
            Some(value) => {
                value.text.push(' ');
                value.text.push_str(options);
            }
            None => self.set("options", options.to_owned()),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.text.as_str())
    }

    /// A parameter that cannot be used, by the name under which it was given.
    fn mistake(&self, name: &str, problem: impl fmt::Display) -> Error {
        mistake(self.0.get(name).map_or(name, |value| value.from), problem)
    }

    /// Of the first server that has one.
    fn read_passwords(&mut self, servers: &[Server], variable: impl Fn(&str) -> Option<String>) {
        if self.text("password").is_some() {
            return;
        }
        let user = self.text("user").map(str::to_owned);
        let Some(user) = user.or_else(|| variable("USER")) else {
            return;
        };
        let file = match variable("PGPASSFILE") {
            Some(file) => PathBuf::from(file),
            None => match variable("HOME") {
                Some(home) => Path::new(&home).join(".pgpass"),
                None => return,
            },
        };
        let database = self.text("dbname").unwrap_or(&user);
        let found = servers.iter().find_map(|server| {
            let (host, port) = server.login();
            passfile::password(&file, [&host, &port, database, &user])
        });
        if let Some(password) = found {
            self.set("password", password);
        }
    }

    fn servers(&self) -> Result<Vec<Server>, Error> {
        let list = |name| self.text(name).map(|text| text.split(',').collect());
        let hosts: Option<Vec<&str>> = list("host");
        let addresses: Option<Vec<&str>> = list("hostaddr");
        let ports: Vec<&str> = list("port").unwrap_or_default();
        let count = hosts.as_ref().or(addresses.as_ref()).map_or(1, Vec::len);
        if addresses.as_ref().is_some_and(|list| list.len() != count) {
            return Err(self.mistake("hostaddr", "has to name one address a host"));
        }
        if ports.len() > 1 && ports.len() != count {
            return Err(self.mistake("port", "has to name one port, or one a host"));
        }
        let mut servers = Vec::with_capacity(count);
        for index in 0..count {
            let port = match ports.get(index).or(ports.first()) {
                None | Some(&"") => PORT,
                Some(port) => self.port(port)?,
            };
            let address = match &addresses {
                Some(addresses) => Some(addresses[index].parse().map_err(|_| {
                    self.mistake("hostaddr", "is no IP address; a name belongs in host")
                })?),
                None => None,
            };
            servers.push(match &hosts {
                Some(hosts) => self.server(hosts[index], port, address)?,
                None => address.map_or_else(
                    || default_server(port),
                    |address| Server::Tcp {
                        host: address.to_string(),
                        port,
                        address: Some(address),
                    },
                ),
            });
        }
        Ok(servers)
    }

    fn port(&self, text: &str) -> Result<u16, Error> {
        // Not shown: it may be the beginning of a password.
        let port = text.parse().ok().filter(|port| *port != 0);
        port.ok_or_else(|| {
            self.mistake(
                "port",
                "is no number from 1 to 65535; special characters in a password are percent-encoded",
            )
        })
    }

    fn server(&self, host: &str, port: u16, address: Option<IpAddr>) -> Result<Server, Error> {
        if host.starts_with('/') {
            return Ok(Server::Socket(socket(Path::new(host), port)));
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        // An address may have a zone: fe80::1%eth0.
        let (unscoped, _) = host.split_once('%').unwrap_or((host, ""));
        let is_host = !host.is_empty() && host.chars().all(is_name);
        if !is_host && unscoped.parse::<IpAddr>().is_err() {
            return Err(self.mistake(
                "host",
                "is neither a host name nor an IP address nor the folder of a socket",
            ));
        }
        Ok(Server::Tcp {
            host: host.to_owned(),
            port,
            address,
        })
    }

    fn encryption(&self) -> Result<Encryption, Error> {
        let root = self.text("sslrootcert");
        let of_system = root == Some("system");
        let default = if of_system { "verify-full" } else { "prefer" };
        let mode = self.text("sslmode").unwrap_or(default).to_ascii_lowercase();
        let trust = || match root {
            None | Some("system") => Trust::of_system(),
            Some(file) => Trust::of_file(Path::new(file)),
        };
        if of_system && ["disable", "allow", "prefer"].contains(&&*mode) {
            return Err(self.mistake(
                "sslmode",
                "checks no certificate, and sslrootcert=system wants it checked; set \
                 verify-full",
            ));
        }
        let check = match &*mode {
            "disable" => return Ok(Encryption::Never),
            "allow" | "prefer" => {
                if !tls::is_available() {
                    return Ok(Encryption::Never);
                }
                return Ok(Encryption::Offered(self.tls(Check::Nothing)?));
            }
            "require" if root.is_none() => Check::Nothing,
            "require" | "verify-ca" => Check::Authority(trust()?),
            "verify-full" => Check::AuthorityAndName(trust()?),
            _ => {
                return Err(self.mistake(
                    "sslmode",
                    "is none of disable, allow, prefer, require, verify-ca, verify-full",
                ));
            }
        };
        Ok(Encryption::Always(self.tls(check)?))
    }

    fn tls(&self, check: Check) -> Result<Tls, Error> {
        let file = |name| self.text(name).map(PathBuf::from);
        Tls::new(check, Identity::of_files(file("sslcert"), file("sslkey"))?)
    }

    fn config(&self) -> Result<Config, Error> {
        let mut config = Config::new();
        if let Some(user) = self.text("user") {
            config.user(user);
        }
        if let Some(password) = self.text("password") {
            config.password(password);
        }
        if let Some(database) = self.text("dbname") {
            config.dbname(database);
        }
        if let Some(name) = self.text("application_name") {
            config.application_name(name);
        }
        if let Some(options) = self.text("options") {
            config.options(options);
        }
        config.channel_binding(match self.text("channel_binding").unwrap_or("prefer") {
            "disable" => ChannelBinding::Disable,
            "prefer" => ChannelBinding::Prefer,
            "require" => ChannelBinding::Require,
            _ => {
                return Err(self.mistake("channel_binding", "is none of disable, prefer, require"));
            }
        });
        Ok(config)
    }
}

/// Where no host is named: a local server's socket, if there is one.
fn default_server(port: u16) -> Server {
    let sockets = SOCKET_FOLDERS.map(|folder| socket(Path::new(folder), port));
    let found = sockets.into_iter().find(|socket| socket.exists());
    found.map_or_else(
        || Server::Tcp {
            host: "localhost".to_owned(),
            port,
            address: None,
        },
        Server::Socket,
    )
}

fn socket(folder: &Path, port: u16) -> PathBuf {
    folder.join(format!(".s.PGSQL.{port}"))
}

fn decoded(name: &'static str, text: &str) -> Result<String, Error> {
    let text = percent_decode_str(text).decode_utf8();
    let text =
        text.map_err(|_| mistake(name, "is not UTF-8 when its percent-encoding is undone"))?;
    Ok(text.into_owned())
}

/// The server splits the options at spaces that have no backslash in front.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(' ', "\\ ")
}

/// Shows the name if it may be `shown` and looks like one: of a password, nothing is.
fn unknown(name: &str, shown: bool) -> Error {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let shown = match shown && name.len() <= 40 && name.chars().all(is_name) {
        true => format!("the unknown parameter {name:?}"),
        false => "an unknown parameter (not shown)".to_owned(),
    };
    let known = PostgresOptions::PARAMETERS.join(", ");
    Error::Configuration(format!(
        "the URL has {shown} behind the question mark; known are {known}"
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

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
}
