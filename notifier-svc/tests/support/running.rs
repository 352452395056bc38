//! The program itself, until it has printed something.

use std::process::{Command, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader};

use crate::desk::{Desk, PATIENCE};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_notifier-svc");

/// Starts the program; waits until its output has all of `parts` in this order; ends it by SIGTERM.
/// Returns its whole output.
pub async fn run_until(desk: &Desk, more: &[&str], parts: &[&str]) -> String {
    let mut child = tokio::process::Command::new(PROGRAM)
        .args(desk.flags(more))
        .env_clear()
        .current_dir(std::env::temp_dir())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut output = String::new();
    let running = async {
        for part in parts {
            loop {
                let line = lines.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("no {part:?} in\n{output}"));
                output.push_str(&line);
                output.push('\n');
                if line.contains(part) {
                    break;
                }
            }
        }
        let id = child.id().unwrap().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        while let Some(line) = lines.next_line().await.unwrap() {
            output.push_str(&line);
            output.push('\n');
        }
        assert_eq!(child.wait().await.unwrap().code(), Some(0), "{output}");
    };
    tokio::time::timeout(PATIENCE, running)
        .await
        .unwrap_or_else(|_| panic!("the program did not print {parts:?}, or did not end"));
    output
}
