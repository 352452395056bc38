use proto::{CartItem, CartItemChange, NewCartItem, UuidText, identity};
use serde::Serialize;
use service::auth::Gate;
use service::db::database_problem;
use service::http::{
    FieldProblem, Method, Next, Problem, Request, Response, Router, StatusCode, empty, json,
    refusal,
};

use super::items::{Cart, Carts, ChangeError};

const CART: &str = "/api/cart/user/{userId}";
const ITEMS: &str = "/api/cart/user/{userId}/items";
const ITEM: &str = "/api/cart/user/{userId}/items/{itemId}";

/// `GET /api/cart/user/{userId}`, and its items.
pub(crate) fn routes(carts: &Carts, gate: &Gate) -> Router {
    Router::new()
        .get(CART, carts.clone(), show)
        .post(ITEMS, carts.clone(), add)
        .route(Method::PUT, ITEM, carts.clone(), set)
        .route(Method::DELETE, ITEM, carts.clone(), remove)
        .around(gate.clone(), their_own)
}

/// Before all of them: the cart is the user's whom the path names.
async fn their_own(gate: Gate, request: Request, next: Next) -> Result<Response, Problem> {
    let caller = gate.caller(&request)?;
    // As the routes read it: 7 and 007 are one user.
    if let Ok(owner) = request.id("userId") {
        caller.may_touch(Some(&owner.to_string()))?;
    }
    next.run(request).await
}

/// The same paths on an instance that keeps no carts.
pub(crate) fn routes_without_carts() -> Router {
    let refuse = async |(), _: Request| {
        Err(Problem::not_found(
            "this instance keeps no carts (CARTS=false); ask one that does",
        ))
    };
    Router::new()
        .get(CART, (), refuse)
        .post(ITEMS, (), refuse)
        .route(Method::PUT, ITEM, (), refuse)
        .route(Method::DELETE, ITEM, (), refuse)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    id: i64,
    user_id: i64,
    items: Vec<ShownItem<'a>>,
}

#[derive(Serialize)]
struct ShownItem<'a> {
    id: i64,
    product: &'a str,
    quantity: i64,
    price: i64,
}

impl<'a> From<&'a CartItem<'_>> for ShownItem<'a> {
    fn from(item: &'a CartItem<'_>) -> Self {
        Self {
            id: item.id,
            product: &item.product,
            quantity: item.quantity,
            price: item.price,
        }
    }
}

async fn show(carts: Carts, request: Request) -> Result<Response, Problem> {
    let user_id = request.id("userId")?;
    let cart = carts.of_user(user_id).await;
    let cart = cart.map_err(|error| unread(&carts, &error))?;
    let Some(Cart { id, user_id, items }) = cart else {
        return Err(no_cart(user_id));
    };
    let shown = Shown {
        id,
        user_id,
        items: items.iter().map(ShownItem::from).collect(),
    };
    Ok(json(StatusCode::OK, &shown))
}

async fn add(carts: Carts, mut request: Request) -> Result<Response, Problem> {
    let user_id = request.id("userId")?;
    let trace = request.trace();
    let body = request.json().await?;
    let new = NewCartItem::decode(&body).map_err(|error| refusal(error, "item of a cart"))?;
    let key = request.idempotency_key()?;
    let key = key.map(|key| UuidText::new(identity::idempotent_request(ITEMS, key)));
    let key = key.as_ref().map(UuidText::as_str);
    let added = carts.add(user_id, &new, key, &trace).await;
    let added = added.map_err(|error| unchanged(&carts, error))?;
    Ok(json(StatusCode::CREATED, &ShownItem::from(&added)))
}

async fn set(carts: Carts, mut request: Request) -> Result<Response, Problem> {
    let (user_id, item_id) = (request.id("userId")?, request.id("itemId")?);
    let trace = request.trace();
    let body = request.json().await?;
    let change = CartItemChange::decode(&body).map_err(|error| refusal(error, "item of a cart"))?;
    let item = carts.set(user_id, item_id, &change, &trace).await;
    let item = item.map_err(|error| unchanged(&carts, error))?;
    Ok(json(StatusCode::OK, &ShownItem::from(&item)))
}

async fn remove(carts: Carts, request: Request) -> Result<Response, Problem> {
    let (user_id, item_id) = (request.id("userId")?, request.id("itemId")?);
    let removed = carts.remove(user_id, item_id, &request.trace()).await;
    removed.map_err(|error| unchanged(&carts, error))?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn no_cart(user_id: i64) -> Problem {
    Problem::not_found(format!(
        "user {user_id} has no cart (yet): it is created by the UserCreated event"
    ))
}

fn unchanged(carts: &Carts, error: ChangeError) -> Problem {
    match error {
        ChangeError::Database(error) => unread(carts, &error),
        ChangeError::NoCart(user_id) => no_cart(user_id),
        ChangeError::NoItem(_) => Problem::not_found(error.to_string()),
        ChangeError::Full => Problem::new(StatusCode::CONFLICT, error.to_string()),
        ChangeError::OtherItem => Problem::unprocessable(vec![FieldProblem {
            field: "Idempotency-Key".into(),
            detail: error.to_string().into(),
        }]),
    }
}

fn unread(carts: &Carts, error: &sql::Error) -> Problem {
    database_problem(
        &carts.database,
        error,
        "the carts' database does not answer; ask again",
    )
}
