//! From the command line to a running service and its exit status: 0 ended well, 1 failed, 2
//! wrong configuration.

use std::fmt::Display;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;

use crate::config::{Common, Invocation, Mistakes, Parsed, Program};
use crate::{descriptors, logging};

/// Exit status of a wrong configuration.
const WRONG_CONFIGURATION: u8 = 2;

/// Why a service did not start, or ended other than well.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Reads the process's arguments, environment and env file.
///
/// # Errors
/// The exit status, after `--help` or `--version` has been printed.
pub fn invocation(program: &Program) -> Result<Invocation, ExitCode> {
    let folder = std::env::current_dir().unwrap_or_default();
    // Variables that are no UTF-8 cannot be ours.
    let vars = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let arguments = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned());
    match program.parse(arguments, vars, &folder) {
        Parsed::Invocation(invocation) => Ok(invocation),
        Parsed::Print(text) => {
            // A closed pipe (`--help | head`) is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Err(ExitCode::SUCCESS)
        }
    }
}

/// Says what is wrong with the configuration; status 2.
pub fn refuse(program: &str, mistakes: &Mistakes) -> ExitCode {
    eprint!(
        "{program}: the configuration is wrong:\n{mistakes}{program} --help lists every option.\n"
    );
    ExitCode::from(WRONG_CONFIGURATION)
}

/// Sets up logging and the runtime, and runs the service until it ends by itself or by SIGTERM or
/// Ctrl-C, which resolve the future given to `service`. A second signal ends the process at once.
/// The error it ends with is logged, and shipped with the other log records ([`logging::shipped`]).
pub fn serve<S, Fut, E>(common: &Common, service: S) -> ExitCode
where
    S: FnOnce(Shutdown) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Display,
{
    serve_unshipped(common, async |shutdown| {
        logging::shipped(common, service(shutdown)).await
    })
}

/// Like [`serve`], for a process that brings the Kafka its log records are shipped to: it calls
/// [`logging::shipped`] itself, while that Kafka runs, and logs its other errors.
pub fn serve_unshipped<S, Fut, E>(common: &Common, service: S) -> ExitCode
where
    S: FnOnce(Shutdown) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: Display,
{
    logging::init(
        common.service,
        common.log_format,
        &common.log_level,
        common.log_topic.is_some(),
    );
    descriptors::raise();
    block_on(common, async {
        // Before anything answers: whoever sees the service may already want it to end.
        let shutdown = Shutdown(Signals::listen());
        service(shutdown).await
    })
}

/// Runs a subcommand's future on a runtime, without logging set up; its error goes to standard
/// error.
pub fn block_on<E: Display>(
    common: &Common,
    future: impl Future<Output = Result<(), E>>,
) -> ExitCode {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if common.worker_threads > 0 {
        builder.worker_threads(common.worker_threads);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("{}: cannot start threads: {error}", common.service);
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        outlive_full_files();
        future.await
    });
    // What still runs was left behind on purpose; do not wait for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", common.service);
            ExitCode::FAILURE
        }
    }
}

/// A file that has reached the limit of its size (`ulimit -f`) is an error for its writer, as a full
/// disk is, and not the end of the process.
fn outlive_full_files() {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // SIGXFSZ; its handler stays when what is returned here is dropped.
        let _ = signal(SignalKind::from_raw(25));
    }
}

/// The wish to end, as the process hears it.
#[derive(Debug)]
pub struct Shutdown(Signals);

impl Shutdown {
    /// Resolves at SIGTERM or Ctrl-C. A second one afterwards ends the process with status 1.
    pub async fn requested(mut self) {
        self.0.next().await;
        tokio::spawn(async move {
            self.0.next().await;
            eprintln!("second signal: ending at once");
            std::process::exit(1);
        });
    }
}

#[cfg(unix)]
#[derive(Debug)]
struct Signals {
    terminate: Option<tokio::signal::unix::Signal>,
    interrupt: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    /// From now on they no longer end the process by themselves.
    fn listen() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let of = |kind, name| {
            signal(kind)
                .inspect_err(|error| tracing::error!("cannot listen for {name}: {error}"))
                .ok()
        };
        Self {
            terminate: of(SignalKind::terminate(), "SIGTERM"),
            interrupt: of(SignalKind::interrupt(), "SIGINT"),
        }
    }

    async fn next(&mut self) {
        async fn of(signal: &mut Option<tokio::signal::unix::Signal>) {
            match signal {
                Some(signal) => {
                    signal.recv().await;
                }
                None => std::future::pending().await,
            }
        }
        tokio::select! {
            () = of(&mut self.terminate) => {}
            () = of(&mut self.interrupt) => {}
        }
    }
}

#[cfg(not(unix))]
#[derive(Debug)]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Self {
        Self
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
