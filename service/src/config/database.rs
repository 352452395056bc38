use super::option::{Opt, group::DATABASE};
use super::value::Secret;
use super::values::Values;
use sql::{DatabaseKind, Options};

/// Where the service's database is.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    pub kind: DatabaseKind,
    /// May hold a password.
    pub url: Secret,
    pub pool_size: u32,
}

/// `url` is the default, where SQLite is built in.
pub(super) fn database_options(url: &'static str) -> Vec<Opt> {
    let database = if cfg!(feature = "embedded") {
        Opt::new(
            "DATABASE_URL",
            url,
            DATABASE,
            "sqlite:FILE or postgres://USER:PASSWORD@HOST:PORT/NAME; the folder of a file is made.",
        )
    } else {
        Opt::unset(
            "DATABASE_URL",
            DATABASE,
            "postgres://USER:PASSWORD@HOST:PORT/NAME; or set DB_HOST and its companions.",
        )
    };
    vec![
        database.secret(),
        Opt::unset(
            "DB_HOST",
            DATABASE,
            "PostgreSQL host, instead of DATABASE_URL.",
        ),
        Opt::new(
            "DB_PORT",
            "5432",
            DATABASE,
            "PostgreSQL port, with DB_HOST.",
        ),
        Opt::unset("DB_USER", DATABASE, "PostgreSQL user, with DB_HOST."),
        Opt::unset(
            "DB_PASSWORD",
            DATABASE,
            "PostgreSQL password, with DB_HOST.",
        )
        .secret(),
        Opt::unset("DB_NAME", DATABASE, "PostgreSQL database, with DB_HOST."),
        Opt::new(
            "DATABASE_POOL_SIZE",
            "8",
            DATABASE,
            "Most connections to the database.",
        ),
    ]
}

impl DatabaseConfig {
    pub(super) fn read(values: &mut Values) -> Self {
        let pool_size = values.checked("DATABASE_POOL_SIZE", "must be at least 1", |n| *n > 0);
        let host: Option<String> = values.find("DB_HOST");
        if host.is_some() && values.is_given("DATABASE_URL") {
            values.mistake(
                "DB_HOST",
                "and DATABASE_URL are both given; set one of them",
            );
        }
        let variable = if host.is_some() {
            "DB_HOST"
        } else {
            "DATABASE_URL"
        };
        let url = match host {
            Some(host) => Self::from_parts(&host, values),
            None => {
                for part in ["DB_USER", "DB_PASSWORD", "DB_NAME"] {
                    if values.is_given(part) && !values.is_given("DATABASE_URL") {
                        values.mistake(part, "needs DB_HOST");
                    }
                }
                values.find("DATABASE_URL").unwrap_or_default()
            }
        };
        let readable = |values: &mut Values, kind| {
            if let Err(error) = Options::parse(&url) {
                // It names a parameter or a file, never a value.
                values.mistake(
                    variable,
                    format!("cannot be used (its value is not shown): {error}"),
                );
            }
            kind
        };
        let kind = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => readable(values, DatabaseKind::Postgres),
            Some("sqlite") if cfg!(feature = "embedded") => readable(values, DatabaseKind::Sqlite),
            Some("sqlite") => {
                values.mistake(
                    "DATABASE_URL",
                    "names SQLite, which this program is built without",
                );
                DatabaseKind::Postgres
            }
            None if url.is_empty() => {
                values.mistake("DATABASE_URL", "must be set, or DB_HOST and its companions");
                DatabaseKind::Postgres
            }
            _ => {
                values.mistake("DATABASE_URL", "must begin with sqlite: or postgres:");
                DatabaseKind::Postgres
            }
        };
        Self {
            kind,
            url: Secret::new(url),
            pool_size,
        }
    }

    fn from_parts(host: &str, values: &mut Values) -> String {
        let port: u16 = values.get("DB_PORT");
        let mut part = |variable: &'static str| match values.find::<String>(variable) {
            Some(text) => percent_encoded(&text),
            None => {
                values.mistake(variable, "must be set with DB_HOST");
                String::new()
            }
        };
        let (user, name) = (part("DB_USER"), part("DB_NAME"));
        let password = match values.find::<String>("DB_PASSWORD") {
            Some(password) => format!(":{}", percent_encoded(&password)),
            None => String::new(),
        };
        let host = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        format!("postgres://{user}{password}@{host}:{port}/{name}")
    }
}

/// RFC 3986: everything but unreserved characters.
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
