//! Which orders are confirmed.

use proto::{FinalStatus, Order, Status};

/// What an order is judged by. The same order always gets the same verdict from the same rules, so
/// processing it again sends the same events again.
#[derive(Debug, Clone)]
pub struct Rules {
    max_quantity: i64,
    /// Without regard to case: the same thing is `Laptop` in one system and `laptop` in another.
    unavailable: Vec<String>,
}

/// The outcome of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Confirmed,
    /// With the reason that the customer is told.
    Rejected(String),
}

impl Verdict {
    pub fn outcome(&self) -> FinalStatus {
        match self {
            Verdict::Confirmed => FinalStatus::Confirmed,
            Verdict::Rejected(_) => FinalStatus::Rejected,
        }
    }

    pub fn status(&self) -> Status {
        self.outcome().status()
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            Verdict::Confirmed => None,
            Verdict::Rejected(reason) => Some(reason),
        }
    }
}

impl Rules {
    /// `max_quantity` is the largest quantity that is confirmed; `unavailable` names products.
    pub fn new(max_quantity: i64, unavailable: impl IntoIterator<Item = String>) -> Self {
        Self {
            max_quantity,
            unavailable: unavailable
                .into_iter()
                .map(|item| item.trim().to_lowercase())
                .filter(|item| !item.is_empty())
                .collect(),
        }
    }

    pub fn judge(&self, order: &Order<'_>) -> Verdict {
        if order.quantity < 1 {
            return Verdict::Rejected(format!("quantity {} is below 1", order.quantity));
        }
        if order.quantity > self.max_quantity {
            return Verdict::Rejected(format!(
                "quantity {} is above the maximum of {}",
                order.quantity, self.max_quantity
            ));
        }
        if !self.unavailable.is_empty() {
            let product = order.product.trim().to_lowercase();
            if self.unavailable.contains(&product) {
                return Verdict::Rejected(format!("{} is unavailable", order.product.trim()));
            }
        }
        Verdict::Confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(product: &str, quantity: i64) -> Verdict {
        let unavailable = ["Time Machine ", "", "ёлка"].map(str::to_owned);
        Rules::new(100, unavailable).judge(&Order {
            order_id: "1".into(),
            product: product.into(),
            quantity,
            user_id: None,
            created_at: None,
        })
    }

    #[test]
    fn quantities_from_one_to_the_maximum_are_confirmed() {
        assert_eq!(judged("Laptop", 1), Verdict::Confirmed);
        assert_eq!(judged("Laptop", 100), Verdict::Confirmed);
        let reason = |quantity| judged("Laptop", quantity).reason().unwrap().to_owned();
        assert_eq!(reason(101), "quantity 101 is above the maximum of 100");
        assert_eq!(reason(0), "quantity 0 is below 1");
        assert_eq!(reason(i64::MIN), "quantity -9223372036854775808 is below 1");
    }

    #[test]
    fn what_is_unavailable_is_rejected_however_it_is_written() {
        for product in ["Time Machine", "time machine", " TIME MACHINE", "Ёлка"] {
            let verdict = judged(product, 1);
            assert_eq!(verdict.outcome(), FinalStatus::Rejected, "{product}");
            assert_eq!(
                verdict.reason().unwrap(),
                format!("{} is unavailable", product.trim())
            );
        }
        assert_eq!(judged("Time", 1), Verdict::Confirmed);
        assert_eq!(judged("", 1), Verdict::Confirmed);
    }
}
