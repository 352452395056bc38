use crate::error::Error;
use crate::postgres::PostgresOptions;
#[cfg(feature = "sqlite")]
use crate::sqlite::SqliteOptions;

/// Which SQL dialect a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseKind {
    Sqlite,
    Postgres,
}

/// How to open a database, as its URL says.
#[derive(Clone, Debug)]
pub enum Options {
    Postgres(Box<PostgresOptions>),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteOptions),
}

impl Options {
    /// Reads `postgres://…`, `postgresql://…` or, with the feature `sqlite`, `sqlite:…`.
    ///
    /// # Errors
    /// [`Error::Configuration`]; its text holds neither the URL nor the password.
    pub fn parse(url: &str) -> Result<Self, Error> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("postgres" | "postgresql") => {
                PostgresOptions::parse(url).map(|options| Self::Postgres(Box::new(options)))
            }
            #[cfg(feature = "sqlite")]
            Some("sqlite") => SqliteOptions::parse(url).map(Self::Sqlite),
            #[cfg(not(feature = "sqlite"))]
            Some("sqlite") => Err(Error::Configuration(
                "the URL names SQLite, which this program is built without".to_owned(),
            )),
            _ => Err(Error::Configuration(
                "the URL of a database begins with sqlite: or postgres:".to_owned(),
            )),
        }
    }

    pub fn kind(&self) -> DatabaseKind {
        match self {
            Self::Postgres(_) => DatabaseKind::Postgres,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => DatabaseKind::Sqlite,
        }
    }
}
