//! What was acknowledged survives, however the broker ends.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use broker::{Broker, Config, Fsync, StartError};
use testkit::raw::Connection;
use testkit::{Kafka, eventually};

use crate::common::{Batch, latest, produce, produce_request, read_all};

#[tokio::test]
async fn a_broker_dropped_without_shutdown_loses_nothing_acknowledged() {
    for fsync in [
        Fsync::Never,
        Fsync::Always,
        Fsync::Interval(Duration::from_millis(1)),
    ] {
        let mut kafka = Kafka::own_broker_with(|config| config.fsync = fsync).await;
        kafka.create_topic("orders", 2).await;
        let mut connection = kafka.connect().await;
        let mut expected = Vec::new();
        for n in 0..50 {
            let value = n.to_string();
            let batch = Batch::sequenced(5, 0, n, &[&value]).bytes();
            let stored = produce(&mut connection, "orders", 1, &batch).await;
            assert_eq!(stored, (0, i64::from(n)));
            expected.push(value);
        }
        kafka.kill_broker().await;
        kafka.start_broker().await;
        let mut connection = kafka.connect().await;
        assert_eq!(read_all(&mut connection, "orders", 1).await, expected);
        // A repeat after the restart is known as one.
        let batch = Batch::sequenced(5, 0, 49, &["49"]).bytes();
        assert_eq!(produce(&mut connection, "orders", 1, &batch).await, (0, 49));
        assert_eq!(latest(&mut connection, "orders", 1).await, 50);
    }
}

#[tokio::test]
async fn producer_ids_are_never_given_twice() {
    use kafka_protocol::messages::InitProducerIdRequest;
    let mut kafka = Kafka::own_broker().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let mut connection = kafka.connect().await;
        for _ in 0..3 {
            let request = InitProducerIdRequest::default().with_transactional_id(None);
            let response = connection.call(&request, 4).await;
            assert_eq!((response.error_code, response.producer_epoch), (0, 0));
            ids.push(response.producer_id.0);
        }
        kafka.kill_broker().await;
        kafka.start_broker().await;
    }
    let mut distinct = ids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
}

#[tokio::test]
async fn a_data_folder_serves_one_broker_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = Broker::start(Config::new(dir.path())).await.unwrap();
    let second = Broker::start(Config::new(dir.path())).await;
    assert!(matches!(second, Err(StartError::Locked(_))));
    first.shutdown().await;
    let third = Broker::start(Config::new(dir.path())).await.unwrap();
    third.shutdown().await;
}

#[tokio::test]
async fn bad_settings_are_all_named_and_nothing_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("data");
    let mut config = Config::new(&folder);
    config.default_partitions = 0;
    config.segment_bytes = 1;
    match Broker::start(config).await {
        Err(StartError::Config(mistakes)) => assert_eq!(mistakes.len(), 2, "{mistakes:?}"),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("it started"),
    }
    assert!(!folder.exists());
}

#[tokio::test]
async fn retention_deletes_by_itself() {
    let kafka = Kafka::own_broker_with(|config| {
        config.retention = Some(Duration::from_millis(1));
        config.retention_check_interval = Duration::from_millis(20);
        config.segment_bytes = 1024;
    })
    .await;
    kafka.create_topic("orders", 1).await;
    let mut connection = kafka.connect().await;
    let batch = Batch::of(&["a"]).bytes();
    produce(&mut connection, "orders", 0, &batch).await;
    eventually(Duration::from_secs(20), async || {
        let mut connection = kafka.connect().await;
        let earliest = crate::common::offset_at(&mut connection, "orders", 0, -2).await;
        (earliest == 1).then_some(())
    })
    .await;
    assert_eq!(produce(&mut connection, "orders", 0, &batch).await, (0, 1));
}

/// The broker as a program of its own, killed when dropped.
struct Program {
    child: Child,
    address: String,
    /// Open as long as the program may write to it.
    _output: BufReader<ChildStdout>,
}

impl Program {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_broker"))
            .arg("--listen=127.0.0.1:0")
            .arg("--data-dir")
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let address = output
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, rest) = line.split_once("127.0.0.1:")?;
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                Some(format!("127.0.0.1:{port}"))
            })
            .expect("the program says where it listens");
        Self {
            child,
            address,
            _output: output,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for (round, enough) in [1, 40, 200].into_iter().enumerate() {
        let program = Program::start(dir.path());
        let mut connection = Connection::open(&program.address).await;
        if round == 0 {
            let request = kafka_protocol::messages::MetadataRequest::default()
                .with_topics(Some(vec![
                    kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
                        .with_name(Some(crate::common::topic_name("orders"))),
                ]))
                .with_allow_auto_topic_creation(true);
            connection.call(&request, 5).await;
        }
        assert!(latest(&mut connection, "orders", 0).await >= acknowledged);
        // Killed in the middle of a stream of requests, which goes on meanwhile.
        let (reached, at) = std::sync::mpsc::channel();
        let killer = std::thread::spawn(move || {
            at.recv().unwrap();
            drop(program);
        });
        for number in 1.. {
            let batch = Batch::of(&["x".repeat(500).as_str()]).bytes();
            let request = produce_request("orders", 0, &batch, -1);
            match connection.try_call(&request, 9).await {
                Ok(response) => {
                    let answer = &response.responses[0].partition_responses[0];
                    assert_eq!(answer.error_code, 0);
                    acknowledged = answer.base_offset + 1;
                }
                Err(_) => break,
            }
            if number == enough {
                reached.send(()).unwrap();
            }
        }
        killer.join().unwrap();
    }
    assert!(acknowledged > 240);
    let program = Program::start(dir.path());
    let mut connection = Connection::open(&program.address).await;
    let end = latest(&mut connection, "orders", 0).await;
    // At most the request under way at each kill was stored without its acknowledgement.
    assert!((acknowledged..=acknowledged + 3).contains(&end));
}

#[test]
fn the_program_explains_itself_and_refuses_bad_settings() {
    let run = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_broker"))
            .args(args)
            .output()
            .unwrap()
    };
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("--data-dir"));
    let refused = run(&["--listen=nowhere", "--colour=red"]);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("--listen") && said.contains("--colour"),
        "{said}"
    );
}
