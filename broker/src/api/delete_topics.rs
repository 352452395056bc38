//! DeleteTopics: by name, or by id since version 6.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use kafka_protocol::protocol::{StrBytes, VersionRange};
use uuid::Uuid;

use super::create_topics::error_of;
use super::{Api, Call, Reply, versions};
use crate::faults::Subject;

impl Api for DeleteTopicsRequest {
    const SERVED: VersionRange = versions(1, 6);

    fn subjects(&self, visit: &mut dyn FnMut(Subject<'_>)) {
        for name in &self.topic_names {
            visit(Subject::Topic(name));
        }
        for topic in &self.topics {
            if let Some(name) = &topic.name {
                visit(Subject::Topic(name));
            }
        }
    }

    async fn handle(self, call: &Call) -> Reply<DeleteTopicsResponse> {
        let named = self
            .topic_names
            .into_iter()
            .map(|name| (Some(name), Uuid::nil()));
        let asked = named.chain(
            self.topics
                .into_iter()
                .map(|topic| (topic.name, topic.topic_id)),
        );
        let responses = asked
            .map(|(name, id)| {
                let (name, id, deleted) = delete(call, name, id);
                let result = DeletableTopicResult::default()
                    .with_name(name)
                    .with_topic_id(id);
                match deleted {
                    Ok(()) => result,
                    Err((error, reason)) => {
                        let result = result.with_error_code(error.code());
                        if call.version >= 5 {
                            result.with_error_message(reason.map(StrBytes::from_string))
                        } else {
                            result
                        }
                    }
                }
            })
            .collect();
        Reply::Answer(DeleteTopicsResponse::default().with_responses(responses))
    }
}

type Deleted = Result<(), (ResponseError, Option<String>)>;

fn delete(call: &Call, name: Option<TopicName>, id: Uuid) -> (Option<TopicName>, Uuid, Deleted) {
    if let Some(error) = call.refusal_of_all() {
        return (name, id, Err((error, None)));
    }
    let topics = &call.state.topics;
    let found = match &name {
        Some(name) => topics
            .get(name)
            .ok_or(ResponseError::UnknownTopicOrPartition),
        None => topics.by_id(id).ok_or(ResponseError::UnknownTopicId),
    };
    let topic = match found {
        Ok(topic) => topic,
        Err(error) => return (name, id, Err((error, None))),
    };
    let known = Some(topic.name.clone().into());
    let id = if call.version >= 6 { topic.id } else { id };
    let deleted = topics
        .delete(&topic.name)
        .map(|_| ())
        .map_err(|error| (error_of(&error), Some(error.to_string())));
    if deleted.is_ok() {
        call.state.groups.lock().topic_deleted(&topic.name);
    }
    let deleted = match call.disguise_of_all() {
        Some(error) => Err((error, None)),
        None => deleted,
    };
    (known, id, deleted)
}
