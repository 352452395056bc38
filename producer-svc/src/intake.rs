//! `POST /api/orders` and `POST /orders`: an order is checked, written to Kafka, and answered with
//! its receipt once the broker has acknowledged it. No database is on the way.

mod answer;

use std::borrow::Cow;
use std::sync::Arc;

use kafka::{OutgoingRecord, ProduceError, Producer};
use proto::{EventHeaders, EventType, Order, OrderRequest, Rfc3339, Spelling, order_id};
use service::auth::Gate;
use service::health::Health;
use service::http::{Language, Problem, Request, Response, Router, header, preferred, refusal};
use service::metrics::Metrics;

use crate::acceptance::{Acceptance, Outcomes};
use crate::taken::{IdOrigin, Taken};
use crate::view::Accepted;
use crate::view_lag::ViewLag;
use crate::{Config, SOURCE};
use answer::Receipt;

/// One way in: a route, the topic it writes to, and the spelling of both.
pub(crate) struct Intake {
    route: &'static str,
    spelling: Spelling,
    topic: String,
    type_id: Option<String>,
    producer: Producer,
    gate: Gate,
    outcomes: Outcomes,
    acceptance: Acceptance,
    taken: Taken,
    beside: Beside,
}

/// What intake and the order view have to do with each other.
#[derive(Clone, Default)]
pub(crate) struct Beside {
    /// Where orders are noted, to be shown before the view has them; `None` where this instance shows none.
    pub(crate) accepted: Option<Accepted>,
    /// What says whether the view is too far behind; `None` where nobody asks.
    pub(crate) lag: Option<ViewLag>,
}

/// Both ways in, sharing a producer and what is counted.
///
/// The producer's delivery timeout must be `REQUEST_TIMEOUT`: it is what bounds the wait here, for
/// less than a timer a request.
pub(crate) fn routes(
    config: &Config,
    producer: &Producer,
    gate: &Gate,
    taken: &Taken,
    beside: Beside,
    metrics: &Metrics,
    health: &Health,
) -> Router {
    let help = "Orders asked for over HTTP, by outcome";
    let outcomes = Outcomes::new(metrics, "orders", help);
    let intake = |route: &'static str, spelling, topic: &str| {
        Arc::new(Intake {
            route,
            spelling,
            topic: topic.to_owned(),
            type_id: config
                .type_ids
                .get(EventType::OrderPlaced)
                .map(str::to_owned),
            producer: producer.clone(),
            gate: gate.clone(),
            outcomes: outcomes.clone(),
            acceptance: Acceptance::new("order", topic, health),
            taken: taken.clone(),
            beside: beside.clone(),
        })
    };
    let camel = intake("/api/orders", Spelling::Camel, &config.order_topic);
    let snake = intake("/orders", Spelling::Snake, &config.orders_topic);
    Router::new()
        .post(camel.route, camel, post)
        .post(snake.route, snake, post)
}

async fn post(intake: Arc<Intake>, mut request: Request) -> Result<Response, Problem> {
    let result = intake.take(&mut request).await;
    intake.outcomes.count(&result);
    result
}

impl Intake {
    async fn take(&self, request: &mut Request) -> Result<Response, Problem> {
        let caller = self.gate.caller(request)?;
        let language = preferred(request.header(header::ACCEPT_LANGUAGE));
        let body = request.json().await?;
        let mut asked =
            OrderRequest::decode(&body, self.spelling).map_err(|error| refusal(error, "order"))?;
        if let Some(user) = caller.user() {
            caller.acting_for(asked.user_id.as_deref())?;
            asked.user_id = Some(user.into());
        }
        let (id, origin) = self.order_id(&asked, request)?;
        if let Some(refusal) = self.beside.lag.as_ref().and_then(ViewLag::refusal) {
            return Err(refusal.with(self.id_member(), &*id));
        }
        // One memory for both routes: an order is known by its id on either topic.
        let content = (&asked.product, asked.quantity, &asked.user_id);
        let claim =
            self.taken
                .claim(origin, ("order", &*id), content, "order", self.id_member())?;
        match self.send(&asked, &id, request).await {
            Ok(place) => {
                claim.succeeded();
                self.acceptance.accepted();
                if let Some(accepted) = &self.beside.accepted {
                    accepted.note(&id, self.spelling, &place);
                }
                let receipt = Receipt {
                    order_id: &id,
                    message: message(language),
                    topic: &place.topic,
                    partition: place.partition,
                    offset: place.offset,
                };
                Ok(receipt.response(self.spelling))
            }
            Err(error) => {
                claim.failed(&error);
                Err(self.acceptance.not_accepted(&error, self.id_member(), &id))
            }
        }
    }

    /// Given in the body, or derived from the `Idempotency-Key`, or new.
    fn order_id<'a>(
        &self,
        asked: &OrderRequest<'a>,
        request: &Request,
    ) -> Result<(Cow<'a, str>, IdOrigin), Problem> {
        if let Some(id) = &asked.order_id {
            return Ok((id.clone(), IdOrigin::Given));
        }
        let (id, origin) = match request.idempotency_key()? {
            None => (order_id::new(), IdOrigin::New),
            Some(key) => {
                let id = order_id::idempotent(self.route, asked.user_id.as_deref(), key);
                (id, IdOrigin::Key)
            }
        };
        Ok((Cow::Owned(id.as_str().to_owned()), origin))
    }

    /// Resolves when the broker has acknowledged, or the delivery timeout has passed.
    async fn send(
        &self,
        asked: &OrderRequest<'_>,
        id: &str,
        request: &Request,
    ) -> Result<kafka::RecordMetadata, ProduceError> {
        let now = Rfc3339::now();
        let order = Order {
            order_id: Cow::Borrowed(id),
            product: Cow::Borrowed(&*asked.product),
            quantity: asked.quantity,
            user_id: asked.user_id.as_deref().map(Cow::Borrowed),
            created_at: Some(Cow::Borrowed(now.as_str())),
        };
        let mut value = Vec::with_capacity(256);
        order.write(self.spelling, &mut value);
        let trace = request.trace();
        let delivery = self.producer.enqueue(&OutgoingRecord {
            topic: &self.topic,
            partition: None,
            key: Some(id.as_bytes()),
            value: Some(&value),
            headers: &EventHeaders {
                // A retry of the order is the same event.
                id,
                event_type: EventType::OrderPlaced,
                source: SOURCE,
                time: &now,
                trace: &trace,
                type_id: self.type_id.as_deref(),
            }
            .list(),
            timestamp: None,
        })?;
        delivery.await
    }

    /// What the id is called in an answer.
    fn id_member(&self) -> &'static str {
        match self.spelling {
            Spelling::Camel => "orderId",
            Spelling::Snake => "order_id",
        }
    }
}

fn message(language: Language) -> &'static str {
    match language {
        Language::Russian => "ваш заказ принят в обработку",
        Language::English => "your order is accepted for processing",
    }
}
