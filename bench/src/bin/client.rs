//! Measures the client alone beside bare rskafka: CPU a record, rate, memory.
//!
//! The parent creates topics and runs every case in a child process, in turn, several rounds, every
//! second one backwards; then prints medians and how ours stand to rskafka.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use bench::client::{self, Case, Failure, Figures, Kind, Load, TlsListener};
use bench::table::Rounds;
use kafka::Compression;
use tokio::process::Command;

const USAGE: &str = "\
client [OPTIONS]   (KAFKA_BOOTSTRAP_SERVERS, default localhost:9092)

  --records N      records a case handles (1000000)
  --bytes N        bytes of key and value together (100)
  --partitions N   partitions of each topic (6)
  --compression C  none (default), gzip, snappy, lz4 or zstd, of what our producer sends
  --tls ADDR,CA    where ours connects with TLS, and the PEM file to trust; rskafka stays plain
  --rounds N       times that every case runs (5)
  --only A,B       only these cases
  --child CASE TOPIC   run one case on a topic that is there, print its figures";

struct Options {
    bootstrap: String,
    load: Load,
    rounds: usize,
    cases: Vec<Case>,
    child: Option<(Case, String)>,
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--help" || argument == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("client: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Failure> {
    let Some((case, topic)) = &options.child else {
        return compare(&options).await;
    };
    let load = Load {
        headers: case.headers(),
        ..options.load.clone()
    };
    println!(
        "{}",
        client::run(*case, &options.bootstrap, topic, &load).await?
    );
    Ok(())
}

async fn compare(options: &Options) -> Result<(), Failure> {
    let admin = client::connect(&options.bootstrap).await?;
    let run = format!(
        "bench-{}",
        SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis()
    );
    let partitions = options.load.partitions;

    // What is consumed is written once, by the case that knows its load best.
    let mut full = Vec::new();
    for (writer, suffix) in [
        (Case::RskafkaProduce, "plain"),
        (Case::RskafkaProduceHeaders, "headers"),
    ] {
        let wanted =
            |case: &Case| case.kind() == Kind::Consume && case.headers() == writer.headers();
        if options.cases.iter().any(wanted) {
            let topic = format!("{run}-{suffix}");
            client::create_topic(&admin, &topic, partitions).await?;
            child(writer, &topic, options).await?;
            full.push((writer.headers(), topic));
        }
    }

    let mut rounds = Rounds::default();
    for round in 0..options.rounds {
        let mut cases = options.cases.clone();
        if round % 2 == 1 {
            cases.reverse();
        }
        for case in cases {
            let figures = match case.kind() {
                Kind::Consume => {
                    let topic = full.iter().find(|(headers, _)| *headers == case.headers());
                    let (_, topic) = topic.ok_or("no topic was filled for it")?;
                    child(case, topic, options).await?
                }
                Kind::Produce => {
                    let topic = format!("{run}-{round}-{}", case.name());
                    client::create_topic(&admin, &topic, partitions).await?;
                    let figures = child(case, &topic, options).await;
                    client::delete_topic(&admin, &topic).await?;
                    figures?
                }
            };
            eprintln!(
                "round {} {}: {:.2} µs CPU a record, {:.0} records/s, {:.0} MB",
                round + 1,
                case.name(),
                figures.cpu_us_a_record(),
                figures.records_a_second(),
                figures.peak_mb(),
            );
            rounds.add(case, figures);
        }
    }
    for (_, topic) in full {
        client::delete_topic(&admin, &topic).await?;
    }
    println!(
        "{} records of {} B over {partitions} partitions, {} rounds, medians\n\n{}\n{}",
        options.load.records,
        options.load.bytes,
        options.rounds,
        rounds.markdown(),
        rounds.ratios(),
    );
    Ok(())
}

/// Runs a case in a process of its own.
async fn child(case: Case, topic: &str, options: &Options) -> Result<Figures, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(TlsListener { address, ca }) = &options.load.tls {
        command.args(["--tls", &format!("{address},{}", ca.display())]);
    }
    let output = command
        .args([
            "--records",
            &options.load.records.to_string(),
            "--bytes",
            &options.load.bytes.to_string(),
        ])
        .args(["--compression", options.load.compression.name()])
        .args([
            "--partitions",
            &options.load.partitions.to_string(),
            "--child",
            case.name(),
            topic,
        ])
        .env("KAFKA_BOOTSTRAP_SERVERS", &options.bootstrap)
        .kill_on_drop(true)
        .output()
        .await?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{} ended with {}: {}",
            case.name(),
            output.status,
            said.trim()
        )
        .into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        bootstrap: std::env::var("KAFKA_BOOTSTRAP_SERVERS")
            .unwrap_or_else(|_| "localhost:9092".into()),
        load: Load {
            records: 1_000_000,
            bytes: 100,
            partitions: 6,
            headers: false,
            compression: Compression::None,
            tls: None,
        },
        rounds: 5,
        cases: Case::ALL.to_vec(),
        child: None,
    };
    let mut arguments = arguments;
    while let Some(flag) = arguments.next() {
        let mut value = || {
            arguments
                .next()
                .ok_or_else(|| format!("{flag} wants a value"))
        };
        match flag.as_str() {
            "--records" => options.load.records = number(&flag, &value()?)?,
            "--bytes" => options.load.bytes = number(&flag, &value()?)?,
            "--partitions" => options.load.partitions = number(&flag, &value()?)?,
            "--compression" => {
                options.load.compression = value()?
                    .parse()
                    .map_err(|error| format!("--compression: {error}"))?
            }
            "--tls" => {
                let (address, ca) = value()?
                    .split_once(',')
                    .map(|(address, ca)| (address.to_owned(), ca.into()))
                    .ok_or("--tls wants ADDRESS,FILE")?;
                options.load.tls = Some(TlsListener { address, ca });
            }
            "--rounds" => options.rounds = number(&flag, &value()?)?,
            "--only" => {
                options.cases = value()?
                    .split(',')
                    .map(str::parse)
                    .collect::<Result<_, _>>()?
            }
            "--child" => options.child = Some((value()?.parse()?, value()?)),
            _ => return Err(format!("unknown option '{flag}'")),
        }
    }
    Ok(options)
}

/// All of them count something of which there has to be at least one.
fn number<N: std::str::FromStr + Default + PartialOrd>(
    flag: &str,
    text: &str,
) -> Result<N, String> {
    match text.parse() {
        Ok(number) if number > N::default() => Ok(number),
        _ => Err(format!("{flag} wants a number above 0, not '{text}'")),
    }
}
