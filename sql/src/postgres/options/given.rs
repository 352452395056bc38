//! What a URL says, and where it is silent libpq's variables; and what that comes to.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::ChannelBinding;

use super::super::tls::{self, Check, Identity, Tls, Trust, mistake};
use super::server::{PORT, Server, default_server, socket};
use super::{Encryption, PostgresOptions, passfile};
use crate::Error;

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

/// What URL and variables say, by the name of the parameter.
#[derive(Default)]
pub(super) struct Given(BTreeMap<&'static str, Value>);

struct Value {
    text: String,
    /// The parameter or the variable, for messages.
    from: &'static str,
}

impl Given {
    pub(super) fn read_url(&mut self, url: &str) -> Result<(), Error> {
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

    pub(super) fn read_variables(&mut self, variable: impl Fn(&str) -> Option<String>) {
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
    pub(super) fn read_passwords(
        &mut self,
        servers: &[Server],
        variable: impl Fn(&str) -> Option<String>,
    ) {
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

    pub(super) fn servers(&self) -> Result<Vec<Server>, Error> {
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

    pub(super) fn encryption(&self) -> Result<Encryption, Error> {
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

    pub(super) fn config(&self) -> Result<Config, Error> {
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
