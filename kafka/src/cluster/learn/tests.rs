//! A cluster of scripted brokers that name different ids of one topic.

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::client::ClientConfig;
use crate::connection::tests::{Peer, accept, listen, versions};

const PATIENCE: Duration = Duration::from_secs(10);

/// Topic ids are sent from this version on.
const METADATA: i16 = 12;

/// One broker.
#[derive(Clone)]
struct Member {
    address: Arc<str>,
    /// Of the topic, as it knows it.
    id: Option<u128>,
    /// It answers no question for metadata.
    silent: bool,
}

type Members = Arc<Mutex<BTreeMap<i32, Member>>>;

pub(crate) struct Scripted {
    members: Members,
    tasks: BTreeMap<i32, JoinSet<()>>,
    pub(crate) cluster: Arc<Cluster>,
    topic: Arc<str>,
}

impl Scripted {
    /// Brokers 1 and 2, which both name this id; the client has heard of it from broker 1.
    pub(crate) async fn new(id: u128) -> Self {
        let members = Members::default();
        let mut tasks = BTreeMap::new();
        for node in [1, 2] {
            let (listener, address) = listen().await;
            let id = Some(id);
            members.lock().insert(
                node,
                Member {
                    address,
                    id,
                    silent: false,
                },
            );
            let mut task = JoinSet::new();
            task.spawn(serve(listener, node, members.clone()));
            tasks.insert(node, task);
        }
        let first = members.lock()[&1].address.clone();
        let cluster = Cluster::new(ClientConfig::new(&first).unwrap());
        let topic: Arc<str> = "t".into();
        let names = [topic.clone()];
        cluster.ensure_topics(&names).await.unwrap();
        let scripted = Self {
            members,
            tasks,
            cluster,
            topic,
        };
        assert_eq!(scripted.known(), Some(id));
        scripted
    }

    pub(crate) fn names(&self, node: i32, id: impl Into<Option<u128>>) {
        self.members.lock().get_mut(&node).unwrap().id = id.into();
    }

    /// The broker answers nothing any more.
    fn silence(&self, node: i32) {
        self.members.lock().get_mut(&node).unwrap().silent = true;
    }

    /// A broker that nobody reaches is listed by the others.
    fn list(&self, node: i32) {
        let member = Member {
            address: "127.0.0.1:1".into(),
            id: None,
            silent: true,
        };
        self.members.lock().insert(node, member);
    }

    /// The client asks this broker.
    async fn ask(&self, node: i32) {
        let names = [self.topic.clone()];
        self.cluster.refresh_from(node, &names).await.unwrap();
    }

    /// The id that the client believes.
    fn known(&self) -> Option<u128> {
        Some(self.cluster.view().topic_id(&self.topic)?.as_u128())
    }

    /// Waits until the client believes this one, of itself.
    async fn until_known(&self, id: u128) {
        let mut views = self.cluster.watch();
        let is_known = |view: &Arc<ClusterView>| view.topic_id("t") == TopicId::from_u128(id);
        let known = views.wait_for(is_known);
        let known = tokio::time::timeout(PATIENCE, known).await;
        known.expect("it is believed").unwrap();
    }

    /// The broker dies, and the others no longer list it.
    async fn lose(&mut self, node: i32) {
        self.members.lock().remove(&node);
        self.tasks.remove(&node).unwrap().shutdown().await;
    }
}

/// Answers on each connection, until aborted.
async fn serve(listener: TcpListener, node: i32, members: Members) {
    let mut connections = JoinSet::new();
    loop {
        let peer = accept(&listener).await;
        connections.spawn(answer(peer, node, members.clone()));
    }
}

async fn answer(mut peer: Peer, node: i32, members: Members) {
    while let Some(asked) = peer.read().await {
        match asked.api {
            ApiKey::ApiVersions => {
                let apis = versions(&[(ApiKey::Metadata, 0, METADATA)]);
                peer.answer(&asked, asked.version, apis).await;
            }
            ApiKey::Metadata => {
                let members = members.lock().clone();
                if members.get(&node).is_some_and(|member| member.silent) {
                    std::future::pending::<()>().await;
                }
                let metadata = metadata(node, &members);
                peer.answer(&asked, asked.version, metadata).await;
            }
            other => panic!("{other:?} is not scripted"),
        }
    }
}

fn metadata(node: i32, members: &BTreeMap<i32, Member>) -> MetadataResponse {
    let broker = |(node, member): (&i32, &Member)| {
        let (host, port) = member.address.rsplit_once(':').unwrap();
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(*node))
            .with_host(StrBytes::from_string(host.to_owned()))
            .with_port(port.parse().unwrap())
    };
    let name = Some(TopicName(StrBytes::from_static_str("t")));
    let topic = MetadataResponseTopic::default().with_name(name);
    let topic = match members.get(&node).and_then(|member| member.id) {
        Some(id) => topic
            .with_topic_id(format!("{id:032x}").parse().unwrap())
            .with_partitions(vec![
                MetadataResponsePartition::default().with_leader_id(BrokerId(1)),
            ]),
        None => topic.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
    };
    MetadataResponse::default()
        .with_brokers(members.iter().map(broker).collect())
        .with_topics(vec![topic])
}

#[tokio::test]
async fn a_broker_that_lags_behind_does_not_turn_a_topic_back() {
    let scripted = Scripted::new(7).await;
    scripted.ask(2).await;
    scripted.names(1, 8);
    scripted.ask(1).await;
    assert_eq!(scripted.known(), Some(8));
    scripted.ask(2).await;
    assert_eq!(
        scripted.known(),
        Some(8),
        "the other one is known to be older"
    );
    // Whichever broker the regular refresh asks.
    for _ in 0..5 {
        scripted.cluster.refresh().await.unwrap();
        assert_eq!(scripted.known(), Some(8));
    }
    scripted.names(2, 8);
    scripted.ask(2).await;
    assert_eq!(scripted.known(), Some(8));
}

#[tokio::test]
async fn a_new_id_is_believed_at_once_if_the_broker_that_named_the_old_one_names_it_too() {
    let scripted = Scripted::new(7).await;
    scripted.names(1, 8);
    scripted.names(2, 8);
    scripted.ask(2).await;
    assert_eq!(scripted.known(), Some(8));
    assert!(!scripted.cluster.is_disputed("t"));
}

#[tokio::test]
async fn while_brokers_disagree_they_are_asked_again_by_themselves() {
    let scripted = Scripted::new(7).await;
    scripted.names(2, 8);
    scripted.ask(2).await;
    assert_eq!(scripted.known(), Some(7));
    assert!(scripted.cluster.is_disputed("t"));
    // What was asked for has been done; nobody asks any more.
    scripted.cluster.refresh().await.unwrap();
    assert_eq!(scripted.known(), Some(7));
    scripted.names(1, 8);
    // Long before the metadata are too old.
    scripted.until_known(8).await;
    assert!(!scripted.cluster.is_disputed("t"));
}

#[tokio::test]
async fn the_word_of_a_broker_that_left_does_not_count() {
    let mut scripted = Scripted::new(7).await;
    scripted.names(2, 8);
    scripted.ask(2).await;
    assert_eq!(scripted.known(), Some(7));
    scripted.lose(1).await;
    scripted.until_known(8).await;
}

#[tokio::test]
async fn nor_does_that_of_a_broker_that_no_longer_knows_the_topic() {
    let scripted = Scripted::new(7).await;
    scripted.names(1, None);
    scripted.names(2, 8);
    scripted.ask(2).await;
    assert_eq!(scripted.known(), Some(8));
}

#[tokio::test]
async fn what_nobody_disputes_waits_for_no_silent_broker() {
    let scripted = Scripted::new(7).await;
    scripted.silence(1);
    scripted.names(2, 8);
    scripted.list(3);
    let mut views = scripted.cluster.watch();
    let listed = views.wait_for(|view| view.brokers.contains_key(&3));
    tokio::select! {
        () = scripted.ask(2) => panic!("broker 1 is to be heard first"),
        listed = tokio::time::timeout(PATIENCE, listed) => {
            listed.expect("it is known").unwrap();
        }
    }
    assert_eq!(scripted.known(), Some(7));
    assert!(scripted.cluster.is_disputed("t"));
}
