//! Chromium, driven over WebDriver (W3C) by way of chromedriver. It has to be installed (Debian:
//! `chromium`, `chromium-driver`); a test that cannot start it fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{eventually, http};

/// A browser starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// For root in a container, and so that it asks nobody else for anything.
const FLAGS: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--window-size=1280,900",
];

/// A browser of a test's own, with one window.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// The browser's files.
    _profile: tempfile::TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let program = std::env::var("CHROMEDRIVER").unwrap_or_else(|_| "chromedriver".to_owned());
        let mut driver = Command::new(&program)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Its browser is ended with it.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{program}: {error}; install chromium and chromium-driver")
            });
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let port: u16 = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "{program} ended");
            let port = line.trim().strip_suffix('.').unwrap_or_default();
            if let Some((_, port)) = port.split_once("started successfully on port ") {
                break port.parse().unwrap();
            }
        };
        // What it says later must not block it.
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self {
            driver,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            session: String::new(),
            _profile: profile,
        };
        let folder = format!("--user-data-dir={}", browser._profile.path().display());
        let arguments: Vec<&str> = FLAGS.into_iter().chain([&*folder]).collect();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let session = browser.command("POST", "", &wanted).await;
        browser.session = session["sessionId"].as_str().unwrap().to_owned();
        browser
    }

    async fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = match &*self.session {
            "" => "/session".to_owned(),
            session => format!("/session/{session}{path}"),
        };
        let body = match method {
            "GET" => String::new(),
            _ => body.to_string(),
        };
        let headers = [("content-type", "application/json")];
        let answer =
            http::request_within(PATIENCE, self.address, method, &path, &headers, &body).await;
        let answered: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {answered}");
        answered["value"].clone()
    }

    pub async fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url })).await;
    }

    /// What a script returns.
    pub async fn run(&self, script: &str) -> Value {
        let call = json!({"script": script, "args": []});
        self.command("POST", "/execute/sync", &call).await
    }

    /// Waits until an expression is true (or gives a value that is).
    pub async fn until(&self, expression: &str) {
        let script = format!("return Boolean({expression})");
        let holds = async || self.run(&script).await.as_bool().unwrap().then_some(());
        let waited = tokio::time::timeout(PATIENCE, eventually(PATIENCE * 2, holds)).await;
        if waited.is_err() {
            let page = self.run("return document.body.innerText").await;
            panic!("never came: {expression}\n{}", page.as_str().unwrap());
        }
    }

    /// A click as a person does it, on the first element of a selector.
    pub async fn click(&self, selector: &str) {
        let element = json!({"using": "css selector", "value": selector});
        let found = self.command("POST", "/element", &element).await;
        let id = found.as_object().unwrap().values().next().unwrap();
        let path = format!("/element/{}/click", id.as_str().unwrap());
        self.command("POST", &path, &json!({})).await;
    }

    /// What DevTools can do beyond WebDriver.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let call = json!({"cmd": command, "params": parameters});
        self.command("POST", "/goog/cdp/execute", &call).await
    }

    /// What scripts and policies have complained about; refusals of the API are none of it.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self
            .command("POST", "/se/log", &json!({"type": "browser"}))
            .await;
        let entries = log.as_array().unwrap().iter();
        entries
            .filter(|entry| entry["source"] != "network")
            .map(|entry| entry["message"].to_string())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser leaves in order where it can; with the driver's group it is ended anyhow.
        if let Ok(mut stream) = TcpStream::connect(self.address) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
            let session = &self.session;
            let _ = write!(
                stream,
                "DELETE /session/{session} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
            );
            let _ = stream.read(&mut [0; 1024]);
        }
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.driver.wait();
    }
}
