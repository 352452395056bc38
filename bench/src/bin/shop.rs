//! Finds the highest rate of orders that the whole shop, one process with its defaults, sustains with
//! its order view and its notifications never far behind; prints a table and draws a chart.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use bench::client::Failure;
use bench::shop::program::Shop;
use bench::shop::search::Search;
use bench::shop::step::{self, Step};
use bench::shop::{chart, report};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
shop [OPTIONS]

  --program FILE   the shop (standalone beside this program)
  --stored N       orders that are stored before the first step (10000)
  --from N         orders a second of the first step (1000)
  --rate N         offer this rate once, search nothing
  --seconds N      how long a step lasts (15)
  --confirm N      how long the rate that was found has to last; 0: not tried again (60)
  --lag SECONDS    how far view and notifications may be behind (1)
  --svg FILE       the chart (docs/bench-shop.svg)";

struct Options {
    program: PathBuf,
    stored: u64,
    from: u64,
    rate: Option<u64>,
    seconds: u64,
    confirm: u64,
    lag: Duration,
    svg: PathBuf,
}

// One thread: the load shares the cores with the shop.
#[tokio::main(flavor = "current_thread")]
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
    let ended = tokio::select! {
        ended = run(&options) => ended,
        // The shop is killed and its folder removed on the way out.
        ended = interrupted() => ended,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("shop: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn interrupted() -> Result<(), Failure> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        asked = tokio::signal::ctrl_c() => asked?,
        _ = terminated.recv() => {}
    }
    Err("interrupted".into())
}

async fn run(options: &Options) -> Result<(), Failure> {
    let shop = Shop::start(&options.program).await?;
    if options.stored > 0 {
        eprintln!("storing {} orders", options.stored);
        step::store(&shop, options.stored).await?;
    }
    let mut steps = Vec::new();
    let sustained = match options.rate {
        Some(rate) => {
            let is_sustained = take(&shop, options, rate, options.seconds, &mut steps).await?;
            if is_sustained { rate } else { 0 }
        }
        None => find(&shop, options, &mut steps).await?,
    };
    std::fs::write(&options.svg, chart::svg(&steps, options.lag))
        .map_err(|error| format!("{}: {error}", options.svg.display()))?;
    println!("{}", report::markdown(&steps));
    println!(
        "Sustained with at most {} s of lag: {sustained} orders/s; the chart is {}",
        options.lag.as_secs_f64(),
        options.svg.display(),
    );
    Ok(())
}

/// The highest sustained rate; 0: none was.
async fn find(shop: &Shop, options: &Options, steps: &mut Vec<Step>) -> Result<u64, Failure> {
    let mut search = Search::from(options.from);
    while let Some(rate) = search.rate() {
        search.judge(
            rate,
            take(shop, options, rate, options.seconds, steps).await?,
        );
    }
    let mut rate = search.sustained();
    if options.confirm > 0 {
        // What lasts for a step may not last for longer: down in steps as fine as the search's.
        while rate > 0 && !take(shop, options, rate, options.confirm, steps).await? {
            rate = rate * 19 / 20;
        }
    }
    Ok(rate)
}

/// Whether the rate was sustained.
async fn take(
    shop: &Shop,
    options: &Options,
    rate: u64,
    seconds: u64,
    steps: &mut Vec<Step>,
) -> Result<bool, Failure> {
    eprintln!("{rate} orders/s for {seconds} s");
    let step = step::run(shop, rate, seconds, options.lag).await?;
    let sustained = step.sustained();
    match sustained {
        Ok(()) => eprintln!("{rate} orders/s: sustained"),
        Err(why) => eprintln!("{rate} orders/s: not sustained: {why}"),
    }
    steps.push(step);
    Ok(sustained.is_ok())
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let own = std::env::current_exe().map_err(|error| format!("this program's folder: {error}"))?;
    let mut options = Options {
        program: own.with_file_name("standalone"),
        stored: 10_000,
        from: 1_000,
        rate: None,
        seconds: 15,
        confirm: 60,
        lag: Duration::from_secs(1),
        svg: "docs/bench-shop.svg".into(),
    };
    let mut arguments = arguments;
    while let Some(flag) = arguments.next() {
        let value = arguments.next();
        let value = value.ok_or_else(|| format!("{flag} wants a value"))?;
        match flag.as_str() {
            "--program" => options.program = value.into(),
            "--stored" => options.stored = at_least(0, &flag, &value)?,
            "--from" => options.from = at_least(1, &flag, &value)?,
            "--rate" => options.rate = Some(at_least(1, &flag, &value)?),
            "--seconds" => options.seconds = at_least(1, &flag, &value)?,
            "--confirm" => options.confirm = at_least(0, &flag, &value)?,
            "--lag" => {
                options.lag = Duration::from_millis((1e3 * at_least(0.1, &flag, &value)?) as u64)
            }
            "--svg" => options.svg = value.into(),
            _ => return Err(format!("unknown option '{flag}'")),
        }
    }
    Ok(options)
}

fn at_least<N: FromStr + PartialOrd + std::fmt::Display>(
    least: N,
    flag: &str,
    text: &str,
) -> Result<N, String> {
    match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(format!(
            "{flag} wants a number of at least {least}, not '{text}'"
        )),
    }
}
