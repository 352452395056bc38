//! Where the shop's programs lie: beside this test, in the folder of its profile, where
//! `cargo test --workspace` and `cargo build --workspace` put them.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The path of a program.
///
/// # Panics
/// When it was not built, or before its sources were last changed: a fault found in an old program
/// would mislead.
pub fn path(program: &str) -> PathBuf {
    let folder = folder();
    let path = folder.join(program);
    let built = modified(&path).unwrap_or_else(|| {
        panic!("{} is not there: {}", path.display(), advice());
    });
    for source in sources(&folder.join(format!("{program}.d"))) {
        let changed = modified(&source).is_some_and(|changed| changed > built);
        assert!(
            !changed,
            "{} is older than {}: {}",
            path.display(),
            source.display(),
            advice()
        );
    }
    path
}

fn advice() -> &'static str {
    "run `cargo test --workspace`, or `cargo build --workspace` before testing this package alone"
}

/// Tests and examples lie one folder below the programs.
fn folder() -> PathBuf {
    let this = std::env::current_exe().expect("the path of this program");
    let folder = this.parent().expect("a folder");
    if folder.ends_with("deps") || folder.ends_with("examples") {
        folder.parent().expect("a folder above").to_owned()
    } else {
        folder.to_owned()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().ok()?.modified().ok()
}

/// What cargo notes a program was built from: `program: source source…`.
fn sources(dep_info: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(dep_info).unwrap_or_default();
    let Some((_, sources)) = text.split_once(": ") else {
        return Vec::new();
    };
    // Spaces within a path are escaped.
    sources
        .replace("\\ ", "\0")
        .split_whitespace()
        .map(|path| PathBuf::from(path.replace('\0', " ")))
        .collect()
}
