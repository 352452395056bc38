//! Argon2id alone: how often a second some threads verify a password, which costs what hashing it does. The parameters
//! are those of the hash that it is given, so they are the service's that stored it.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use bench::measure::Meter;

const USAGE: &str = "hashes PASSWORD PHC-STRING THREADS SECONDS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("hashes: {failure}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

/// The figures as JSON.
fn run(arguments: &[String]) -> Result<String, Box<dyn std::error::Error>> {
    let [password, hash, threads, seconds] = arguments else {
        return Err("four arguments".into());
    };
    let hash = PasswordHash::new(hash)?;
    let (threads, seconds) = (threads.parse::<usize>()?, seconds.parse()?);
    Argon2::default().verify_password(password.as_bytes(), &hash)?;
    let meter = Meter::start();
    let end = Instant::now() + Duration::from_secs(seconds);
    let verify = || {
        let mut hashes = 0_u64;
        while Instant::now() < end {
            let verified = Argon2::default().verify_password(password.as_bytes(), &hash);
            hashes += u64::from(verified.is_ok());
        }
        hashes
    };
    let hashes = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(verify)).collect();
        let counts = running.into_iter().map(thread::ScopedJoinHandle::join);
        counts.sum::<thread::Result<u64>>()
    });
    let hashes = hashes.map_err(|_| "a thread has panicked")?;
    let cost = meter.stop()?;
    Ok(format!(
        r#"{{"hashes":{hashes},"seconds":{},"cpu_seconds":{}}}"#,
        cost.wall.as_secs_f64(),
        cost.cpu.as_secs_f64(),
    ))
}
