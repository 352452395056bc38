use std::collections::BTreeMap;
use std::time::Duration;

use kafka::{
    Admin, Client, CommittedOffset, ConsumerRecord, GroupDescription, OffsetAt, TopicDescription,
    TopicPartition,
};
use proto::headers::CE_ID;
use proto::topics::DEAD_LETTER_SUFFIX;
use proto::{ReceivedHeaders, UserEvent, UuidText, identity};
use serde_json::Value;
use service::config::Secret;
use service::db::Database;
use service::http::{ServiceAnswer, ServiceUrl, StatusCode};
use service::kafka_glue::{Scan, explained};
use service::outbox::{self, Published};

use super::findings::{Asked, Cart, Findings, Foreign, Letters, Readiness, Record, Seen, There};
use super::letters::{self, Search};
use super::report::{Report, report};
use crate::{Config, users};

/// Longest wait for one answer: of the database, of Kafka, of consumer-svc.
const PATIENCE: Duration = Duration::from_secs(3);

/// Longest walk over the dead letters.
const LETTERS_PATIENCE: Duration = Duration::from_secs(5);

/// Longest walk over the users' topic, for a user whom the database does not know.
const TOPIC_PATIENCE: Duration = Duration::from_secs(5);

/// Asks everybody concerned about one user's cart.
#[derive(Clone)]
pub(crate) struct Doctor {
    database: Database,
    client: Client,
    admin: Admin,
    cart_service: ServiceUrl,
    /// What opens the carts where users have to say who they are.
    service_token: Option<Secret>,
    asked: Asked,
}

impl Doctor {
    pub(crate) fn new(config: &Config, client: &Client, database: &Database) -> Self {
        let users_topic = config.users_topic.to_string();
        Self {
            database: database.clone(),
            client: client.clone(),
            admin: client.admin().with_timeout(PATIENCE),
            cart_service: config.cart_service.clone(),
            service_token: config.common.auth.service_token.clone(),
            asked: Asked {
                at: 0,
                dead_letter_topic: format!("{users_topic}{DEAD_LETTER_SUFFIX}"),
                users_topic,
                group: config.cart_group.clone(),
                cart_service: config.cart_service.to_string(),
                outbox_retention: config.outbox_retention,
            },
        }
    }

    /// Why the user has no cart. Takes twenty seconds at most, whoever is away, and a fraction of one
    /// where all are there.
    pub(super) async fn examine(&self, user_id: i64) -> Report {
        report(&self.gather(user_id).await)
    }

    async fn gather(&self, user_id: i64) -> Findings {
        let mut asked = self.asked.clone();
        asked.at = proto::now_millis();
        let (own, topic_found, group, committed, cart_service, cart) = tokio::join!(
            self.own(user_id),
            self.topic(),
            self.group(),
            self.committed(),
            self.readiness(),
            self.cart(user_id),
        );
        let (user, event) = own;
        let topic_id = topic_found
            .as_ref()
            .ok()
            .and_then(|found| found.as_ref()?.id);
        let topic = topic_found.map(|found| found.map(|topic| topic.partitions.len() as i32));
        let mut findings = Findings {
            user_id,
            asked,
            user,
            event,
            foreign: Ok(None),
            record: Err("it was not asked for".to_owned()),
            letter: Err("they were not asked for".to_owned()),
            topic,
            topic_id,
            group,
            committed,
            cart_service,
            cart,
        };
        if let (Ok(None), Ok(None)) = (&findings.user, &findings.event) {
            findings.foreign = self.foreign(&findings).await;
        }
        if findings.topic.is_ok() {
            (findings.record, findings.letter) =
                tokio::join!(self.record(&findings), self.letter(&findings));
        }
        // What was handled while all the others were asked.
        if findings.cart == Ok(Cart::Missing) {
            findings.cart = self.cart(user_id).await;
        }
        findings
    }

    /// What the own database has: the user, and the event.
    async fn own(&self, user_id: i64) -> (Seen<Option<i64>>, Seen<Option<Published>>) {
        let key = user_id.to_string();
        let user = users::registered_at(&self.database, user_id);
        let event = outbox::find(&self.database, &self.asked.users_topic, &key);
        let asking = async {
            // An SQLite file that was moved away is still read from.
            self.database.look().await?;
            tokio::try_join!(user, event)
        };
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok((user, event))) => (Ok(user), Ok(event)),
            Ok(Err(error)) => (Err(error.to_string()), Err(error.to_string())),
            Err(_) => (Err(no_answer()), Err(no_answer())),
        }
    }

    async fn topic(&self) -> Seen<Option<TopicDescription>> {
        let topics = kafka(self.admin.describe_topics(&[&self.asked.users_topic]).await)?;
        Ok(topics.into_iter().next())
    }

    async fn group(&self) -> Seen<GroupDescription> {
        let described = kafka(self.admin.describe_groups(&[&self.asked.group]).await)?;
        let group = described.into_iter().next();
        group.ok_or_else(|| "Kafka does not describe the group".to_owned())
    }

    async fn committed(&self) -> Seen<BTreeMap<i32, CommittedOffset>> {
        let committed = kafka(self.admin.committed_offsets(&self.asked.group).await)?;
        Ok(committed
            .into_iter()
            .filter(|(of, _)| *of.topic == *self.asked.users_topic)
            .map(|(of, committed)| (of.partition, committed))
            .collect())
    }

    /// The first `UserCreated` of a user whom this service did not register. Other clients choose the partition
    /// otherwise, so all of them are read.
    async fn foreign(&self, findings: &Findings) -> Seen<Option<Foreign>> {
        let count = match &findings.topic {
            Ok(Some(count)) => *count,
            Ok(None) => return Ok(None),
            Err(problem) => return Err(problem.clone()),
        };
        let topic = &self.asked.users_topic;
        let looking = async {
            let partitions: Vec<_> = (0..count)
                .map(|partition| TopicPartition::new(topic.as_str(), partition))
                .collect();
            let begins = kafka(self.admin.offsets(&partitions, OffsetAt::Earliest).await)?;
            let scan = Scan::new(&self.client, &self.admin, begins.into_iter().collect()).await;
            let mut scan = told(scan)?;
            while let Some(records) = told(scan.next().await)? {
                let found = records
                    .iter()
                    .find(|record| is_created(record, findings.user_id));
                if let Some(record) = found {
                    return Ok(Some(Foreign {
                        partition: record.partition,
                        offset: record.offset,
                        time: record.timestamp,
                    }));
                }
            }
            Ok(None)
        };
        match tokio::time::timeout(TOPIC_PATIENCE, looking).await {
            Ok(found) => found,
            Err(_) => Err(format!(
                "{topic} was not read to its end in {} s",
                TOPIC_PATIENCE.as_secs()
            )),
        }
    }

    /// What lies where the event should be.
    async fn record(&self, findings: &Findings) -> Seen<Record> {
        if findings.topic == Ok(None) {
            return Err("the topic does not exist".to_owned());
        }
        let Some(partition) = findings.partition() else {
            return Err("the event's partition is not known".to_owned());
        };
        let topic = &self.asked.users_topic;
        let of = [TopicPartition::new(topic.as_str(), partition)];
        let (begin, end, there) = tokio::join!(
            self.admin.offsets(&of, OffsetAt::Earliest),
            self.admin.offsets(&of, OffsetAt::Latest),
            async {
                match findings.offset() {
                    None => Ok(None),
                    Some(offset) => self
                        .there(findings.user_id, partition, offset)
                        .await
                        .map(Some),
                }
            },
        );
        let at = |offsets: BTreeMap<TopicPartition, i64>| {
            let offset = offsets.into_values().next();
            offset.ok_or_else(|| "Kafka does not say where the partition ends".to_owned())
        };
        Ok(Record {
            there: kafka(there)?,
            begin: at(kafka(begin)?)?,
            end: at(kafka(end)?)?,
        })
    }

    async fn there(
        &self,
        user_id: i64,
        partition: i32,
        offset: i64,
    ) -> Result<There, kafka::Error> {
        let topic = &self.asked.users_topic;
        let Some(record) = self.admin.read_record(topic, partition, offset).await? else {
            return Ok(There::Nothing);
        };
        let id = UuidText::new(identity::user_created(user_id));
        Ok(match record.headers.get(CE_ID) {
            Some(found) if found == id.as_bytes() => There::Event,
            _ if is_created(&record, user_id) => There::Event,
            _ => There::Another,
        })
    }

    async fn letter(&self, findings: &Findings) -> Seen<Letters> {
        let Some(partition) = findings.partition() else {
            return Err("the event's partition is not known".to_owned());
        };
        let registered = match (&findings.user, &findings.event) {
            (_, Ok(Some(event))) => Some(event.created_at),
            (Ok(Some(at)), _) => Some(*at),
            _ => None,
        };
        let search = Search {
            asked: &self.asked,
            user_id: findings.user_id,
            topic_id: findings.topic_id,
            partition,
            offset: findings.offset(),
            since: registered,
        };
        let found = letters::find(&self.client, &self.admin, &search);
        match tokio::time::timeout(LETTERS_PATIENCE, found).await {
            Ok(found) => told(found),
            Err(_) => Err(format!(
                "{} was not read to its end in {} s",
                self.asked.dead_letter_topic,
                LETTERS_PATIENCE.as_secs()
            )),
        }
    }

    async fn readiness(&self) -> Seen<Readiness> {
        let ServiceAnswer { status, body } = self.ask("/readyz").await?;
        let known = [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        let report: Value = serde_json::from_slice(&body).unwrap_or_default();
        let lists = [&report["missing"], &report["degraded"]];
        if !known || lists.iter().any(|list| !list.is_array()) {
            return Ok(Readiness::NotTold(status.as_u16()));
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let parts = lists.into_iter().filter_map(Value::as_array).flatten();
        Ok(Readiness::Told(
            parts
                .map(|part| (text(&part["name"]), text(&part["problem"])))
                .collect(),
        ))
    }

    async fn cart(&self, user_id: i64) -> Seen<Cart> {
        let answer = self.ask(&format!("/api/cart/user/{user_id}")).await?;
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let detail = body["detail"].as_str().unwrap_or_default();
        match answer.status {
            StatusCode::OK => match body["id"].as_i64() {
                Some(id) => Ok(Cart::There {
                    id,
                    items: body["items"].as_array().map_or(0, Vec::len),
                }),
                None => Err("the cart service answers with something else than a cart".to_owned()),
            },
            StatusCode::NOT_FOUND if detail.contains("CARTS=false") => Ok(Cart::NotKept),
            StatusCode::NOT_FOUND => Ok(Cart::Missing),
            StatusCode::UNAUTHORIZED => Err(
                "the cart service wants to know who asks: give it and this service the same \
                 AUTH_SERVICE_TOKEN"
                    .to_owned(),
            ),
            status => Err(format!("the cart service answers {status} {detail}")),
        }
    }

    async fn ask(&self, path: &str) -> Seen<ServiceAnswer> {
        let asking = self.cart_service.get_as(path, self.service_token.as_ref());
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(answer) => told(answer),
            Err(_) => Err(format!(
                "{} does not answer in {} s",
                self.cart_service,
                PATIENCE.as_secs()
            )),
        }
    }
}

/// Whether a record is the `UserCreated` of this user, whoever wrote it.
fn is_created(record: &ConsumerRecord, user_id: i64) -> bool {
    let event_type = ReceivedHeaders::read(|name| record.headers.get(name)).event_type;
    let value = record.value.as_deref().unwrap_or_default();
    matches!(
        UserEvent::decode(value, event_type),
        Ok(UserEvent::Created(created)) if created.user_id == user_id
    )
}

fn told<T>(answer: Result<T, impl std::fmt::Display>) -> Seen<T> {
    answer.map_err(|error| error.to_string())
}

fn kafka<T>(answer: Result<T, kafka::Error>) -> Seen<T> {
    answer.map_err(|error| explained(&error))
}

fn no_answer() -> String {
    format!("it does not answer in {} s", PATIENCE.as_secs())
}
