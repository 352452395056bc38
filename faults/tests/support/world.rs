//! A topic, a group on it, and a consumer that keeps what it is given.

use std::sync::Arc;
use std::time::Duration;

use kafka::{
    Client, ClientConfig, ConsumerRecord, ConsumerStats, ConsumerStatsHandle, Handler,
    IsolationLevel, NewTopic, Outcome, ReaderEvent,
};
use testkit::{eventually, unique};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub const PATIENCE: Duration = Duration::from_secs(60);

/// A topic, and a group on it.
pub struct World {
    pub bootstrap: String,
    pub client: Client,
    pub topic: String,
    group: String,
}

impl World {
    pub async fn new(bootstrap: &str, partitions: i32, configs: &[(&str, &str)]) -> Self {
        let client = Client::new(ClientConfig::new(bootstrap).expect("an address"));
        let topic = unique("foreign");
        let mut wanted = NewTopic::new(&topic, partitions, 1);
        for (name, value) in configs {
            wanted = wanted.config(*name, *value);
        }
        let admin = client.admin().with_timeout(PATIENCE);
        admin.create_topics(&[wanted]).await.expect("a topic");
        Self {
            bootstrap: bootstrap.to_owned(),
            client,
            topic,
            group: unique("group"),
        }
    }

    pub fn consume(&self) -> Running {
        let handled = watch::Sender::default();
        let consumer = self
            .client
            .consumer(&self.group)
            .topics([&self.topic])
            .commit_interval(Duration::from_millis(50))
            .discard_rejected()
            .build(Keeping(handled.clone()))
            .expect("a good configuration");
        let stats = consumer.stats();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            let report = consumer.run(shutdown).await.expect("a good end");
            assert!(report.is_clean(), "{report}");
        });
        Running {
            handled,
            stats,
            stop,
            task,
        }
    }

    /// Another group, that has committed this offset and ended.
    pub async fn consume_until_commit_of(&self, offset: i64) -> Self {
        let world = Self {
            bootstrap: self.bootstrap.clone(),
            client: self.client.clone(),
            topic: self.topic.clone(),
            group: unique("group"),
        };
        let consumer = world
            .client
            .consumer(&world.group)
            .topics([&world.topic])
            .commit_interval(Duration::from_millis(50))
            .discard_rejected()
            .build(Stopping { at: offset })
            .expect("a good configuration");
        let stats = consumer.stats();
        let task = tokio::spawn(consumer.run(std::future::pending()));
        eventually(PATIENCE, async || {
            let stats = stats.snapshot();
            let committed = stats.partitions.first()?.committed?;
            (committed == offset).then_some(())
        })
        .await;
        task.abort();
        let _ = task.await;
        world
    }

    pub async fn lag(&self) -> i64 {
        let lags = self.client.admin().group_lag(&self.group).await;
        lags.expect("an answer").iter().map(|lag| lag.lag()).sum()
    }

    /// The values in the topic up to this one.
    pub async fn read(&self, isolation: IsolationLevel, last: &str) -> Vec<String> {
        let reader = self.client.reader().topics([&self.topic]);
        let mut reader = reader
            .isolation(isolation)
            .build()
            .expect("a good configuration");
        let mut read = Vec::new();
        while read.last().is_none_or(|value| value != last) {
            let event = tokio::time::timeout(PATIENCE, reader.next_batch()).await;
            match event.unwrap_or_else(|_| panic!("{last} does not come: {read:?}")) {
                ReaderEvent::Records(records) => read.extend(values(&records)),
                reset => panic!("{reset:?}"),
            }
        }
        read
    }
}

/// The values of records, in their order.
pub fn values(records: &[ConsumerRecord]) -> Vec<String> {
    let value = |record: &ConsumerRecord| {
        let value = record.value.as_deref().unwrap_or_default();
        String::from_utf8_lossy(value).into_owned()
    };
    records.iter().map(value).collect()
}

/// A consumer that runs.
pub struct Running {
    handled: watch::Sender<Vec<ConsumerRecord>>,
    stats: ConsumerStatsHandle,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub fn handled(&self) -> Vec<ConsumerRecord> {
        self.handled.borrow().clone()
    }

    /// Waits for so many records, and that there are no more.
    pub async fn until_handled(&self, count: usize) -> Vec<ConsumerRecord> {
        let mut handled = self.handled.subscribe();
        let waited = handled.wait_for(|handled| handled.len() >= count);
        if tokio::time::timeout(PATIENCE, waited).await.is_err() {
            panic!("{:?}, not {count}", values(&self.handled()));
        }
        let handled = self.handled();
        assert_eq!(handled.len(), count, "{:?}", values(&handled));
        handled
    }

    pub async fn until_stats(
        &self,
        what: &str,
        check: impl Fn(&ConsumerStats) -> bool,
    ) -> Arc<ConsumerStats> {
        let looked = eventually(PATIENCE * 2, async || {
            let stats = self.stats.snapshot();
            check(&stats).then_some(stats)
        });
        match tokio::time::timeout(PATIENCE, looked).await {
            Ok(stats) => stats,
            Err(_) => panic!("{what} did not happen: {:#?}", self.stats.snapshot()),
        }
    }

    pub async fn stop(self) {
        drop(self.stop);
        self.task.await.expect("no panic");
    }
}

/// Keeps what it is given.
struct Keeping(watch::Sender<Vec<ConsumerRecord>>);

impl Handler for Keeping {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        self.0.send_modify(|handled| handled.push(record.clone()));
        Outcome::Done
    }
}

/// Never finishes with a record at or behind an offset.
struct Stopping {
    at: i64,
}

impl Handler for Stopping {
    async fn handle(&self, record: &ConsumerRecord) -> Outcome {
        if record.offset >= self.at {
            std::future::pending::<()>().await;
        }
        Outcome::Done
    }
}
