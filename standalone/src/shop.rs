use std::future::Future;
use std::path::Path;

use broker::Broker;
use service::CancellationToken;
use service::duties::RunError;
use service::http::{BindError, Listeners};
use service::instance::Instance;
use service::launch::Shutdown;
use service::logging;
use tokio::task::JoinSet;

use crate::config::{CONSUMER_ADDR, Config, NAME, NOTIFIER_ADDR, PRODUCER_ADDR};
use crate::greeting::greet;

/// Why the shop did not open, or did not close orderly.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShopError {
    #[error(
        "{0}; BROKER_ADDR and DATA_DIR say where the embedded broker is, and with \
         KAFKA_BOOTSTRAP_SERVERS set none is started"
    )]
    Broker(#[from] broker::StartError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("{service}: {error}")]
    Service {
        service: &'static str,
        error: RunError,
    },
    #[error("{0} panicked")]
    Panicked(tokio::task::JoinError),
}

/// Runs everything until `shutdown`, then ends the services and, after them and their last log
/// records, the broker. What it fails with is logged.
pub(crate) async fn run(mut config: Config, shutdown: Shutdown) -> Result<(), ShopError> {
    let opened = open(&mut config).await;
    let (doors, broker) = opened.inspect_err(|error| tracing::error!("{error}"))?;
    let common = config.producer.common.clone();
    let services = [
        (producer_svc::NAME, &doors.producer),
        (consumer_svc::NAME, &doors.consumer),
        (notifier_svc::NAME, &doors.notifier),
    ];
    let address = broker.as_ref().map(Broker::addr);
    greet(address, &common.kafka.bootstrap_servers, services);

    let result = logging::shipped(&common, serve(config, doors, shutdown)).await;
    if let Some(broker) = broker {
        broker.shutdown().await;
    }
    result
}

/// Where the services listen.
struct Doors {
    producer: Listeners,
    consumer: Listeners,
    notifier: Listeners,
}

/// Everything that can be in the way of a start.
async fn open(config: &mut Config) -> Result<(Doors, Option<Broker>), ShopError> {
    let doors = Doors {
        producer: Listeners::bind(&config.producer.common.http.addresses, PRODUCER_ADDR).await?,
        consumer: Listeners::bind(&config.consumer.common.http.addresses, CONSUMER_ADDR).await?,
        notifier: Listeners::bind(&config.notifier.common.http.addresses, NOTIFIER_ADDR).await?,
    };
    if let Some(data) = &config.to_be_closed {
        close_to_others(data);
    }
    let broker = open_broker(config).await?;
    config.producer.cart_service = doors.consumer.addresses()[0].into();
    config.producer.notifier_service = doors.notifier.addresses()[0].into();
    let instance = Instance::claim(NAME, Some(&config.data), &config.producer.common.kafka);
    for common in [
        &mut config.producer.common,
        &mut config.consumer.common,
        &mut config.notifier.common,
    ] {
        common.kafka.instance = Some(instance.clone());
    }
    Ok((doors, broker))
}

/// The services, until `shutdown`.
async fn serve(config: Config, doors: Doors, shutdown: Shutdown) -> Result<(), ShopError> {
    let stop = CancellationToken::new();
    let mut running = Services::new(&stop);
    running.spawn(producer_svc::NAME, |stop| {
        producer_svc::run(config.producer, doors.producer, stop)
    });
    running.spawn(consumer_svc::NAME, |stop| {
        consumer_svc::run(config.consumer, doors.consumer, stop)
    });
    running.spawn(notifier_svc::NAME, |stop| {
        notifier_svc::run(config.notifier, doors.notifier, stop)
    });
    running.until(shutdown.requested()).await
}

/// Makes a folder its owner's alone, where it is there. What lies in it is closed by whoever opens it.
fn close_to_others(folder: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let Ok(about) = std::fs::metadata(folder) else {
            return;
        };
        let mode = about.permissions().mode();
        let alone = std::fs::Permissions::from_mode(mode & 0o7700);
        if mode & 0o077 != 0
            && let Err(error) = std::fs::set_permissions(folder, alone)
        {
            let folder = folder.display();
            tracing::warn!("{folder} stays open to others: {error}; chmod go= it");
        }
    }
    #[cfg(not(unix))]
    let _ = folder;
}

/// Starts the embedded broker, if it is wanted, and points the services at it.
async fn open_broker(config: &mut Config) -> Result<Option<Broker>, broker::StartError> {
    let Some(wanted) = &config.broker else {
        return Ok(None);
    };
    let mut settings = broker::Config::new(&wanted.data);
    settings.listen = wanted.address;
    settings.retention = Some(wanted.retention);
    // The services create what they need: a name that somebody mistypes is no topic.
    settings.auto_create_topics = false;
    let broker = Broker::start(settings).await?;
    let address = broker.addr().to_string();
    for common in [
        &mut config.producer.common,
        &mut config.consumer.common,
        &mut config.notifier.common,
    ] {
        common.kafka.bootstrap_servers.clone_from(&address);
    }
    Ok(Some(broker))
}

/// The services as tasks: when one fails, the others are ended too.
struct Services {
    tasks: JoinSet<Result<(), ShopError>>,
    stop: CancellationToken,
}

impl Services {
    fn new(stop: &CancellationToken) -> Self {
        Self {
            tasks: JoinSet::new(),
            stop: stop.clone(),
        }
    }

    fn spawn<F>(
        &mut self,
        service: &'static str,
        run: impl FnOnce(service::WaitForCancellationFutureOwned) -> F,
    ) where
        F: Future<Output = Result<(), RunError>> + Send + 'static,
    {
        let running = run(self.stop.clone().cancelled_owned());
        self.tasks.spawn(async move {
            running
                .await
                .map_err(|error| ShopError::Service { service, error })
        });
    }

    /// The first failure, after all have ended.
    async fn until(mut self, shutdown: impl Future<Output = ()>) -> Result<(), ShopError> {
        let mut result = Ok(());
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown, if !self.stop.is_cancelled() => self.stop.cancel(),
                ended = self.tasks.join_next() => {
                    let Some(ended) = ended else { return result };
                    // One gone is the shop closed.
                    self.stop.cancel();
                    result = result.and(ended.unwrap_or_else(|panic| Err(ShopError::Panicked(panic))));
                }
            }
        }
    }
}
