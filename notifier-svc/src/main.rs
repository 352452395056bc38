//! Reads the configuration and runs the service.

use std::process::ExitCode;

use notifier_svc::{Config, NAME, program, run};
use service::http::Listeners;
use service::{healthcheck, launch};

fn main() -> ExitCode {
    let invocation = match launch::invocation(&program()) {
        Ok(invocation) => invocation,
        Err(status) => return status,
    };
    let command = invocation.command;
    let config = match Config::read(invocation.values) {
        Ok(config) => config,
        Err(mistakes) => return launch::refuse(NAME, &mistakes),
    };
    if command == Some("healthcheck") {
        return healthcheck::run(config.common.http.addresses[0]);
    }
    let common = config.common.clone();
    launch::serve(&common, async |shutdown| {
        let listeners = Listeners::bind(&config.common.http.addresses, "HTTP_ADDR").await?;
        run(config, listeners, shutdown.requested()).await?;
        Ok::<_, launch::Failure>(())
    })
}
