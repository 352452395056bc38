//! Events of books, each sent twice, while those who count them are killed, their database is away, or what
//! is no event lies between: what is published and stored in the end is each of them once.

use proto::{Aggregate, AggregateData, BookEventKind, Figures};
use testkit::postgres::Postgres;

use crate::bookstore::checker::{BookVerdict, check};
use crate::bookstore::sums::event_of;
use crate::bookstore::{BookLoad, Bookstore};
use crate::carts::RemovableDatabase;
use crate::gather::worked_off;
use crate::poison::{Form, STRANGE_HEADERS, Writer, as_they_were, kinds};
use crate::run::Run;
use crate::shop::Stage;

/// Instances of consumer-svc that are killed in turn.
const CONSUMERS: usize = 3;

/// One of several consumer-svc is killed and restarted, then the next.
pub async fn consumer_killed(run: Run) -> BookVerdict {
    let mut store = Bookstore::open(Stage::any().await, CONSUMERS).await;
    let mut load = store.load(&run);
    for (round, moment) in run.moments().into_iter().enumerate() {
        load.reached(moment).await;
        let victim = &mut store.consumers[round % CONSUMERS];
        victim.kill();
        victim.start_again().await;
    }
    settled(&run, &store, load).await
}

/// PostgreSQL, which has the databases of both services, is stopped at once and started; orders go on.
pub async fn postgres_restarted(run: Run) -> BookVerdict {
    let mut postgres = Postgres::start().await;
    let mut databases = Vec::new();
    for name in ["figures", "statistics"] {
        postgres.execute(&format!("CREATE DATABASE {name}"));
        databases.push(RemovableDatabase::at(postgres.url_of("postgres", name)).await);
    }
    let [figures, statistics] = databases.try_into().ok().expect("two databases");
    let mut store = Bookstore::open_on(Stage::any().await, figures, statistics, 2).await;
    let mut load = store.load(&run);
    for moment in run.moments() {
        load.reached(moment).await;
        postgres.stop_at_once().await;
        for instance in store.consumers.iter().chain([&store.producer]) {
            instance.names_its_database().await;
        }
        store.order().await;
        postgres.start_again().await;
        store.ready().await;
    }
    settled(&run, &store, load).await
}

/// All kinds of poison in each topic of book events and in that of their aggregates, with a good record
/// right behind each.
pub async fn poisoned(run: Run) -> BookVerdict {
    let store = Bookstore::open(Stage::any().await, 1).await;
    let mut load = store.load(&run);
    let writer = Writer::new(&store.client);
    let mut random = run.random();
    let mut placed = Vec::new();
    let mut events = Vec::new();
    let mut aggregates = Vec::new();
    let [reading, storing] = &store.groups;
    for moment in run.moments() {
        load.reached(moment).await;
        for (kind, topic) in BookEventKind::ALL.into_iter().zip(&store.topics) {
            for poison in kinds(Form::Book(kind), &mut random) {
                placed.push(writer.poison(topic, poison, reading).await);
                let event = event_of(kind, BEHIND + events.len() as u64);
                let mut value = Vec::new();
                event.write(&mut value);
                writer.send(topic, Some(&value), STRANGE_HEADERS).await;
                events.push(event);
            }
        }
        for poison in kinds(Form::Aggregate, &mut random) {
            let topic = &store.aggregated;
            placed.push(writer.poison(topic, poison, storing).await);
            let book = UNHEARD_OF + aggregates.len() as i64;
            let figures = Figures {
                views: book,
                ..Figures::default()
            };
            let mut value = Vec::new();
            aggregate(book, figures.clone()).write(&mut value);
            writer.send(topic, Some(&value), STRANGE_HEADERS).await;
            aggregates.push((book, figures));
        }
    }
    load.reached(run.orders).await;
    let (number, mut sums) = load.finish().await;
    events.iter().for_each(|event| sums.add(event));
    for (book, figures) in aggregates {
        sums.set(book, figures);
    }
    let history = store.history(number + events.len() as u64, sums).await;
    let verdict = check(&history);
    verdict.assert_clean();
    for group in &store.groups {
        worked_off(&store.client, group).await;
    }
    as_they_were(&store.client, &store.letters(), &placed).await;
    verdict
}

/// The first number of the events right behind poison.
const BEHIND: u64 = 1 << 40;

/// The first of the books that have figures without an event.
const UNHEARD_OF: i64 = 1_000;

fn aggregate(book_id: i64, figures: Figures) -> Aggregate {
    Aggregate {
        generated_at: proto::now_millis(),
        data: AggregateData::BookStats { book_id, figures },
    }
}

/// Waits for as many events as there are orders in a run and for all that follows, and checks it.
async fn settled(run: &Run, store: &Bookstore, mut load: BookLoad) -> BookVerdict {
    load.reached(run.orders).await;
    let (events, sums) = load.finish().await;
    let verdict = check(&store.history(events, sums).await);
    verdict.assert_clean();
    verdict
}
