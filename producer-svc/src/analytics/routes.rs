use proto::{Rfc3339, now_millis};
use serde::Serialize;
use serde::de::DeserializeOwned;
use service::db::database_problem;
use service::http::{ANY_QUERY, Problem, Query, Request, Response, Router, StatusCode, json};

use super::books_page::BooksPage;
use super::figures::{BookFigures, Overview, PopularBook, SystemFigures};
use super::store::{AnalyticsStore, Span};
use super::write::SystemType;

const OVERVIEW: &str = "/api/admin/analytics/overview";
const BOOKS: &str = "/api/admin/analytics/books";
const BOOK: &str = "/api/admin/analytics/books/{bookId}";
const POPULAR: &str = "/api/admin/analytics/popular";

/// Rows of a history.
const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

/// The bookstore's figures, for operators: to be put behind their guard.
pub(crate) fn routes(store: &AnalyticsStore) -> Router {
    Router::new()
        .get(OVERVIEW, store.clone(), overview)
        .taking(&["since", "limit"])
        .get(BOOKS, store.clone(), books)
        .taking(&["sort", "order", "limit", "after"])
        .get(BOOK, store.clone(), book)
        .taking(&["since", "limit"])
        .get(POPULAR, store.clone(), popular)
}

/// The same paths on an instance that stores none.
pub(crate) fn routes_without_analytics() -> Router {
    let refuse = async |(), _: Request| {
        Err(Problem::not_found(
            "this instance stores no figures of the bookstore (ANALYTICS=false); ask one that does",
        ))
    };
    [OVERVIEW, BOOKS, BOOK, POPULAR]
        .into_iter()
        .fold(Router::new(), |routes, path| {
            routes.get(path, (), refuse).taking(ANY_QUERY)
        })
}

/// How old figures are. An aggregate of the whole bookstore comes every `ANALYTICS_INTERVAL`: where
/// the age grows beyond it, nobody computes figures at the moment.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Age {
    /// What happened until then is in the figures; null before the first aggregate.
    as_of: Option<String>,
    age_seconds: Option<i64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownOverview {
    #[serde(flatten)]
    age: Age,
    #[serde(flatten)]
    newest: OverviewAt,
    history: Vec<OverviewAt>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct OverviewAt {
    generated_at: String,
    #[serde(flatten)]
    overview: Overview,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownBooks {
    #[serde(flatten)]
    age: Age,
    books: Vec<BookFigures>,
    /// `after` of the next page; null on the last one.
    next: Option<String>,
}

#[derive(Serialize)]
struct ShownBook {
    #[serde(flatten)]
    age: Age,
    #[serde(flatten)]
    newest: BookFigures,
    history: Vec<BookFigures>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownPopular {
    #[serde(flatten)]
    age: Age,
    generated_at: String,
    books: Vec<PopularBook>,
}

async fn overview(store: AnalyticsStore, request: Request) -> Result<Response, Problem> {
    let span = span(request.checked_query())?;
    let newest = newest(&store, SystemType::Overview).await?;
    let history = store.system(SystemType::Overview, span).await;
    let history = history.map_err(|error| unread(&store, &error))?;
    let history: Result<Vec<_>, _> = history.iter().map(overview_at).collect();
    let shown = ShownOverview {
        age: age(&store).await?,
        newest: overview_at(&newest)?,
        history: history?,
    };
    Ok(json(StatusCode::OK, &shown))
}

async fn popular(store: AnalyticsStore, _: Request) -> Result<Response, Problem> {
    let newest = newest(&store, SystemType::Popular).await?;
    let shown = ShownPopular {
        age: age(&store).await?,
        generated_at: time(newest.generated.time),
        books: parsed(&newest.data)?,
    };
    Ok(json(StatusCode::OK, &shown))
}

async fn books(store: AnalyticsStore, request: Request) -> Result<Response, Problem> {
    let page = BooksPage::read(request.checked_query())?;
    let books = store.page(&page).await;
    let mut books = books.map_err(|error| unread(&store, &error))?;
    let next = page.cut(&mut books);
    let age = age(&store).await?;
    Ok(json(StatusCode::OK, &ShownBooks { age, books, next }))
}

async fn book(store: AnalyticsStore, request: Request) -> Result<Response, Problem> {
    let id = request.id("bookId")?;
    let span = span(request.checked_query())?;
    let newest = store.book(id).await;
    let Some(newest) = newest.map_err(|error| unread(&store, &error))? else {
        return Err(Problem::not_found(format!(
            "there are no figures of book {id} (yet): they come with the next aggregates after its \
             first event"
        )));
    };
    let history = store.history(id, span).await;
    let history = history.map_err(|error| unread(&store, &error))?;
    let shown = ShownBook {
        age: age(&store).await?,
        newest,
        history,
    };
    Ok(json(StatusCode::OK, &shown))
}

/// `since` and `limit` of a request.
fn span(mut query: Query) -> Result<Span, Problem> {
    let since = query.time("since");
    let limit = query.limit(DEFAULT_LIMIT, MAX_LIMIT);
    query.finish()?;
    Ok(Span {
        since: since.unwrap_or(i64::MIN),
        limit,
    })
}

async fn newest(store: &AnalyticsStore, kind: SystemType) -> Result<SystemFigures, Problem> {
    let one = Span {
        since: i64::MIN,
        limit: 1,
    };
    let mut newest = store
        .system(kind, one)
        .await
        .map_err(|error| unread(store, &error))?;
    newest.pop().ok_or_else(|| {
        Problem::not_found(
            "no figures have come yet: consumer-svc publishes them every ANALYTICS_INTERVAL",
        )
    })
}

async fn age(store: &AnalyticsStore) -> Result<Age, Problem> {
    let newest = store.as_of().await;
    let newest = newest.map_err(|error| unread(store, &error))?;
    Ok(Age {
        as_of: newest.map(time),
        age_seconds: newest.map(|time| (now_millis().saturating_sub(time) / 1_000).max(0)),
    })
}

fn overview_at(figures: &SystemFigures) -> Result<OverviewAt, Problem> {
    Ok(OverviewAt {
        generated_at: time(figures.generated.time),
        overview: parsed(&figures.data)?,
    })
}

fn time(millis: i64) -> String {
    Rfc3339::from_millis(millis).to_string()
}

fn parsed<T: DeserializeOwned>(data: &str) -> Result<T, Problem> {
    serde_json::from_str(data).map_err(|error| {
        tracing::error!("system_analytics holds what this program did not write: {error}");
        Problem::internal()
    })
}

fn unread(store: &AnalyticsStore, error: &sql::Error) -> Problem {
    database_problem(
        store.database(),
        error,
        "the figures' database does not answer; ask again",
    )
}
