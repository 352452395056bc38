use bytes::Bytes;
use proto::Spelling;
use service::http::{Response, StatusCode, json_bytes};

/// Where an accepted order lies.
pub(super) struct Receipt<'a> {
    pub(super) order_id: &'a str,
    pub(super) message: &'static str,
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    /// -1 where the broker confirmed an earlier attempt without saying where it lies.
    pub(super) offset: i64,
}

impl Receipt<'_> {
    /// 200 with the receipt, in the spelling of the route. The two differ in one name.
    pub(super) fn response(&self, spelling: Spelling) -> Response {
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(match spelling {
            Spelling::Camel => b"{\"orderId\":",
            Spelling::Snake => b"{\"order_id\":",
        });
        text(&mut body, self.order_id);
        body.extend_from_slice(b",\"status\":\"ACCEPTED\",\"message\":");
        text(&mut body, self.message);
        body.extend_from_slice(b",\"topic\":");
        text(&mut body, self.topic);
        body.extend_from_slice(b",\"partition\":");
        body.extend_from_slice(itoa::Buffer::new().format(self.partition).as_bytes());
        body.extend_from_slice(b",\"offset\":");
        if self.offset < 0 {
            body.extend_from_slice(b"null");
        } else {
            body.extend_from_slice(itoa::Buffer::new().format(self.offset).as_bytes());
        }
        body.push(b'}');
        json_bytes(StatusCode::OK, Bytes::from(body))
    }
}

/// A JSON string.
fn text(body: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(body, text).expect("writing a string to memory cannot fail");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use service::http::Body;

    use super::*;

    fn answered(spelling: Spelling, offset: i64) -> Value {
        let receipt = Receipt {
            order_id: "a\"1",
            message: "ваш заказ принят в обработку",
            topic: "order_topic",
            partition: 2,
            offset,
        };
        let Body::Full(body) = receipt.response(spelling).into_body() else {
            panic!("a stream");
        };
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn the_receipt_is_spelled_like_its_route() {
        assert_eq!(
            answered(Spelling::Camel, 17),
            json!({"orderId": "a\"1", "status": "ACCEPTED", "message": "ваш заказ принят в обработку",
                   "topic": "order_topic", "partition": 2, "offset": 17})
        );
        assert_eq!(answered(Spelling::Snake, 17)["order_id"], "a\"1");
        assert_eq!(answered(Spelling::Camel, -1)["offset"], Value::Null);
    }
}
