//! Starts producer-svc: reads its configuration, opens its listeners, runs until it is told to end.

use std::process::ExitCode;

use producer_svc::{Config, NAME, doctor, program};
use service::healthcheck::{self, Probe};
use service::http::Listeners;
use service::launch;

fn main() -> ExitCode {
    let invocation = match launch::invocation(&program()) {
        Ok(invocation) => invocation,
        Err(status) => return status,
    };
    if invocation.command == Some("doctor") {
        return match doctor::Command::read(invocation) {
            Ok(command) => {
                let common = command.config().common.clone();
                launch::block_on(&common, command.run())
            }
            Err(mistakes) => launch::refuse(NAME, &mistakes),
        };
    }
    let mut values = invocation.values;
    let probe = (invocation.command == Some(healthcheck::NAME)).then(|| Probe::take(&mut values));
    let config = match Config::read(values) {
        Ok(config) => config,
        Err(mistakes) => return launch::refuse(NAME, &mistakes),
    };
    if let Some(probe) = probe {
        return probe.run(config.common.http.addresses[0]);
    }
    let common = config.common.clone();
    launch::serve(&common, async |shutdown| {
        let listeners = Listeners::bind(&config.common.http.addresses, "HTTP_ADDR").await?;
        producer_svc::run(config, listeners, shutdown.requested()).await?;
        Ok::<_, launch::Failure>(())
    })
}
