//! Reads the configuration, then runs the service, or one of an operator's commands.

use std::process::ExitCode;

use consumer_svc::{Config, NAME, dlt, program, run};
use service::healthcheck::{self, Probe};
use service::http::Listeners;
use service::launch;

fn main() -> ExitCode {
    let invocation = match launch::invocation(&program()) {
        Ok(invocation) => invocation,
        Err(status) => return status,
    };
    match invocation.command {
        Some(healthcheck::NAME) => {
            let mut values = invocation.values;
            let probe = Probe::take(&mut values);
            match Config::read(values) {
                Ok(config) => probe.run(config.common.http.addresses[0]),
                Err(mistakes) => launch::refuse(NAME, &mistakes),
            }
        }
        Some(_) => match dlt::Command::read(invocation) {
            Ok((config, command)) => launch::block_on(&config.common, dlt::run(&config, command)),
            Err(mistakes) => launch::refuse(NAME, &mistakes),
        },
        None => match Config::read(invocation.values) {
            Ok(config) => serve(config),
            Err(mistakes) => launch::refuse(NAME, &mistakes),
        },
    }
}

fn serve(config: Config) -> ExitCode {
    let common = config.common.clone();
    launch::serve(&common, async |shutdown| {
        let listeners = Listeners::bind(&config.common.http.addresses, "HTTP_ADDR").await?;
        run(config, listeners, shutdown.requested()).await?;
        Ok::<_, launch::Failure>(())
    })
}
