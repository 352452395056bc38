//! The broker as a program: reads its flags, runs until told to stop.

mod args;

use std::process::ExitCode;

use args::{Asked, parse};
use broker::Broker;
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let config = match parse(std::env::args_os().skip(1)) {
        Ok(Asked::Run(config)) => config,
        Ok(Asked::Help) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(mistakes) => return refuse(&mistakes),
    };
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("broker: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let broker = match Broker::start(*config).await {
            Ok(broker) => broker,
            Err(broker::StartError::Config(mistakes)) => return refuse(&mistakes),
            Err(error) => {
                eprintln!("broker: {error}");
                return ExitCode::FAILURE;
            }
        };
        told_to_stop().await;
        broker.shutdown().await;
        ExitCode::SUCCESS
    })
}

fn refuse(mistakes: &[String]) -> ExitCode {
    for mistake in mistakes {
        eprintln!("broker: {mistake}");
    }
    eprintln!("broker: --help lists every option");
    ExitCode::from(2)
}

/// Ctrl-C or SIGTERM.
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
