//! Argon2id alone: how often a second some threads make the same hash again, each in memory that it keeps. The
//! parameters are those of the hash that it is given, so they are the service's that stored it.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
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
    let (Some(salt), Some(wanted)) = (hash.salt, hash.hash) else {
        return Err("the PHC string has no salt or no hash".into());
    };
    let version = hash
        .version
        .map_or(Ok(Version::default()), Version::try_from)?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str())?;
    let argon2 = Argon2::new(algorithm, version, Params::try_from(&hash)?);
    let (threads, seconds) = (threads.parse::<usize>()?, seconds.parse()?);
    let meter = Meter::start();
    let end = Instant::now() + Duration::from_secs(seconds);
    let work = || {
        let mut memory = vec![Block::default(); argon2.params().block_count()];
        let mut out = vec![0; wanted.as_bytes().len()];
        let mut hashes = 0_u64;
        while Instant::now() < end {
            argon2
                .hash_password_into_with_memory(password.as_bytes(), &salt, &mut out, &mut memory)
                .map_err(|error| error.to_string())?;
            hashes += 1;
        }
        match out == wanted.as_bytes() {
            true => Ok(hashes),
            false => Err("it is not this password's hash".to_owned()),
        }
    };
    let counts: Vec<Result<u64, String>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined = running.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|count| count.unwrap_or_else(|_| Err("a thread has panicked".to_owned())))
            .collect()
    });
    let hashes = counts.into_iter().sum::<Result<u64, _>>()?;
    let cost = meter.stop()?;
    Ok(format!(
        r#"{{"hashes":{hashes},"seconds":{},"cpu_seconds":{}}}"#,
        cost.wall.as_secs_f64(),
        cost.cpu.as_secs_f64(),
    ))
}
