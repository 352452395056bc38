//! The scenarios at length: `chaos [NAME…] [--seed NUMBER] [--orders NUMBER] [--rounds NUMBER]`.

use std::process::ExitCode;
use std::time::Instant;

use faults::run::Run;
use faults::scenarios::{ALL, Scenario};

const HELP: &str = "\
Runs the shop's real programs under faults, and checks that nothing was lost, invented or reordered.

Usage: chaos [NAME…] [--seed NUMBER] [--orders NUMBER] [--rounds NUMBER]

Without a name: every scenario. The seed is printed; the same one repeats what is random. On the
embedded broker and SQLite; on Apache Kafka with TEST_KAFKA_BOOTSTRAP_SERVERS and TEST_KAFKA_HOME,
on PostgreSQL with TEST_DATABASE_URL. Scenarios that start a PostgreSQL need TEST_POSTGRES_BIN;
those that mount a disk run where TEST_MOUNTS is set, as root. The programs are those of the same profile: build them first
(`cargo build --workspace --bins`).

Scenarios:
";

struct Asked {
    scenarios: Vec<&'static Scenario>,
    run: Run,
}

fn main() -> ExitCode {
    let asked = match parse(std::env::args().skip(1)) {
        Ok(Some(asked)) => asked,
        Ok(None) => {
            print!("{HELP}");
            for scenario in ALL {
                println!("  {:<31}{}", scenario.name, scenario.about);
            }
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprintln!("chaos: {mistake}; --help lists every scenario");
            return ExitCode::from(2);
        }
    };
    println!("{}", asked.run);
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    for scenario in asked.scenarios {
        let begin = Instant::now();
        println!("--- {}: {}", scenario.name, scenario.about);
        // A violation panics, and names itself.
        let verdict = runtime.block_on(scenario.run(asked.run.clone()));
        println!("ok, {:.0?}: {verdict}", begin.elapsed());
    }
    ExitCode::SUCCESS
}

/// `None` when help is asked for.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Asked>, String> {
    let mut scenarios = Vec::new();
    let mut run = Run::long(fastrand::u64(..));
    while let Some(argument) = arguments.next() {
        let field = match &*argument {
            "--help" | "-h" => return Ok(None),
            "--seed" => &mut run.seed,
            "--orders" => &mut run.orders,
            "--rounds" => &mut run.rounds,
            name => {
                let known = ALL.iter().find(|scenario| scenario.name == name);
                scenarios.push(known.ok_or_else(|| format!("there is no scenario {name:?}"))?);
                continue;
            }
        };
        let value = arguments.next().unwrap_or_default();
        *field = value
            .parse()
            .map_err(|_| format!("{argument} must be a number, not {value:?}"))?;
    }
    if scenarios.is_empty() {
        scenarios = ALL.iter().filter(|scenario| possible(scenario)).collect();
    }
    Ok(Some(Asked { scenarios, run }))
}

fn possible(scenario: &Scenario) -> bool {
    let unset = |variable: &&&str| std::env::var_os(variable).is_none();
    let missing = scenario.needs.iter().find(unset);
    if let Some(variable) = missing {
        println!("left out: {} needs {variable}", scenario.name);
    }
    missing.is_none()
}
