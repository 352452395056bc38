//! How to reach a PostgreSQL, as its URL says.

mod given;
mod passfile;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;

use tokio_postgres::Config;

use self::given::Given;
pub(super) use self::server::Server;
use super::tls::Tls;
use crate::Error;

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
