//! Reads the configuration and runs the service.

use std::process::ExitCode;

use notifier_svc::{Config, NAME, program, run};
use service::healthcheck::{self, Probe};
use service::http::Listeners;
use service::launch;

fn main() -> ExitCode {
    let invocation = match launch::invocation(&program()) {
        Ok(invocation) => invocation,
        Err(status) => return status,
    };
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
        run(config, listeners, shutdown.requested()).await?;
        Ok::<_, launch::Failure>(())
    })
}
