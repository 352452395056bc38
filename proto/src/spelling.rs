/// How the names of a JSON object's fields are spelled.
///
/// Readers take both; this says what a writer writes, and how a field that is missing is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Spelling {
    /// `orderId`, `product`, `userId`: `order_topic` and `POST /api/orders`.
    Camel,
    /// `order_id`, `item`, `user_id`: `orders` and `POST /orders`.
    Snake,
}
