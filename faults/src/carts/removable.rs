use std::path::PathBuf;

use testkit::database::OwnDatabase;

use crate::proxy::Proxy;

/// A service's database that can be taken away and given back: SQLite's file is moved, the way to a
/// PostgreSQL is cut.
pub struct RemovableDatabase {
    own_url: String,
    url: String,
    way: Way,
    /// Gone with it.
    _own: Option<OwnDatabase>,
}

enum Way {
    File(PathBuf),
    Proxy(Proxy),
}

impl RemovableDatabase {
    /// One that nobody else has, as the environment asks for it.
    ///
    /// # Panics
    /// When PostgreSQL cannot be reached, or its URL is not understood.
    pub async fn new() -> Self {
        let own = OwnDatabase::new().await;
        let url = own.url.clone();
        Self {
            _own: Some(own),
            ..Self::at(url).await
        }
    }

    /// This one, of the caller's.
    ///
    /// # Panics
    /// When its URL is not understood.
    pub async fn at(own_url: String) -> Self {
        if let Some(path) = own_url.strip_prefix("sqlite:") {
            return Self {
                way: Way::File(PathBuf::from(path)),
                url: own_url.clone(),
                own_url,
                _own: None,
            };
        }
        let (scheme, rest) = own_url.split_once("://").expect("a URL");
        let (authority, path) = rest.split_once('/').expect("a database's name");
        let (login, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        let addresses = tokio::net::lookup_host(server).await;
        let address = addresses
            .unwrap_or_else(|error| panic!("a database's URL needs host:port: {error}"))
            .next();
        let proxy = Proxy::bind().await;
        proxy.lead_to(address.expect("an address"));
        let joint = if login.is_empty() { "" } else { "@" };
        Self {
            url: format!("{scheme}://{login}{joint}{}/{path}", proxy.address()),
            way: Way::Proxy(proxy),
            own_url,
            _own: None,
        }
    }

    /// For the service.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// For the test, whether it is away from the service or not; not of an SQLite file that is away.
    pub fn own_url(&self) -> &str {
        &self.own_url
    }

    /// # Panics
    /// When the file cannot be moved.
    pub fn take_away(&self) {
        match &self.way {
            Way::File(path) => move_file(path, &path.with_extension("away")),
            Way::Proxy(proxy) => proxy.refuse(true),
        }
    }

    /// # Panics
    /// When the file cannot be moved.
    pub fn give_back(&self) {
        match &self.way {
            Way::File(path) => move_file(&path.with_extension("away"), path),
            Way::Proxy(proxy) => proxy.refuse(false),
        }
    }
}

fn move_file(from: &PathBuf, to: &PathBuf) {
    std::fs::rename(from, to).expect("a file can be moved");
}
