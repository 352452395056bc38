//! The stages of a registration and of its cart in the programs' output, word for word and in order, and
//! nothing personal in it.

use faults::carts::CartShop;
use faults::process::{PATIENCE, Process};
use faults::shop::{Instance, Stage};

/// The lines of a service with its stages, without their time, level and module.
fn stages(process: &Process, tag: &str) -> Vec<String> {
    let output = process.whole_output();
    let stage = |line: &str| {
        let (before, after) = line.split_once(tag)?;
        let sign = before.split_whitespace().next_back()?;
        Some(format!("{sign} {tag}{after}"))
    };
    output.lines().filter_map(stage).collect()
}

/// Without the time that is in braces.
fn timeless(line: &str) -> String {
    match line.split_once("createdAt: \'") {
        Some((before, rest)) => {
            let (time, after) = rest.split_once('\'').expect("a closing quote");
            assert!(time.ends_with('Z') && time.len() == 24, "{line}");
            format!("{before}createdAt: \'…\'{after}")
        }
        None => line.to_owned(),
    }
}

/// Waits until it has printed this since its last start.
async fn says(service: &mut Instance, words: &str) {
    let look = |output: &str| output.contains(words).then_some(());
    service.process.eventually(PATIENCE, look).await;
}

fn assert_nothing_personal(process: &Process) {
    let output = process.whole_output();
    for part in ["example.com", "secret7", "argon2"] {
        assert!(!output.contains(part), "{part} in\n{output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stages_are_printed_word_for_word_in_order_and_without_the_address() {
    let mut shop = CartShop::open(Stage::any().await).await;
    says(&mut shop.producer, "Успешно подключен к Kafka").await;
    says(&mut shop.consumer, "Kafka consumer запущен").await;
    assert_eq!(shop.register("Anna@example.com").await, 1);
    shop.has_cart(1).await;
    let topic = shop.users_topic.clone();
    let event = "{ type: 'UserCreated', userId: 1, createdAt: '…' }";
    let sent = "✅ [USER-SERVICE] Событие отправлено в Kafka";
    says(&mut shop.producer, sent).await;
    // A Kafka that was slow is told of as well, and sent to again.
    let mut told: Vec<_> = stages(&shop.producer.process, "[USER-SERVICE]")
        .iter()
        .filter(|line| !line.starts_with('❌'))
        .map(|line| timeless(line))
        .collect();
    told.dedup();
    let sending = format!(
        "📤 [USER-SERVICE] Отправляю событие в Kafka: {{ topic: '{topic}', event: {event} }}"
    );
    assert_eq!(
        told,
        [
            "🔌 [USER-SERVICE] Подключаюсь к Kafka...",
            "✅ [USER-SERVICE] Успешно подключен к Kafka",
            &sending,
            sent,
        ]
    );
    let created = "✅ [CART-SERVICE] Корзина создана/получена: { id: 1, userId: 1 }";
    says(&mut shop.consumer, created).await;
    let told: Vec<_> = stages(&shop.consumer.process, "[CART-SERVICE]")
        .iter()
        .map(|line| timeless(line))
        .collect();
    // murmur2 of "1", of three partitions.
    let received = format!(
        "📥 [CART-SERVICE] Получено сообщение из Kafka: {{ topic: '{topic}', partition: 0, offset: '0' }}"
    );
    assert_eq!(
        told,
        [
            "🔌 [CART-SERVICE] Запускаю Kafka consumer...",
            "✅ [CART-SERVICE] Kafka consumer запущен",
            &received,
            &format!("🔍 [CART-SERVICE] Распарсенный payload: {event}"),
            "✅ [CART-SERVICE] Обрабатываю событие UserCreated",
            "🛒 [CART-SERVICE] Создаю корзину для userId: 1",
            created,
        ]
    );
    for process in [&shop.producer.process, &shop.consumer.process] {
        assert_nothing_personal(process);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_waits_for_the_consumer_is_received_after_its_start() {
    let mut shop = CartShop::open(Stage::any().await).await;
    shop.consumer.kill();
    shop.register("anna@example.com").await;
    says(&mut shop.producer, "Событие отправлено в Kafka").await;
    shop.consumer.start_again().await;
    let created = "✅ [CART-SERVICE] Корзина создана/получена: { id: 1, userId: 1 }";
    says(&mut shop.consumer, created).await;
    let told = stages(&shop.consumer.process, "[CART-SERVICE]");
    let signs: String = told.iter().filter_map(|line| line.chars().next()).collect();
    let again = signs.rsplit('🔌').next();
    assert_eq!(again, Some("✅📥🔍✅🛒✅"), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_on_the_way_to_kafka_is_printed_too() {
    let mut shop = CartShop::open(Stage::own(None).await).await;
    shop.stage.kill().await;
    shop.register("anna@example.com").await;
    // The relay gives a record ten seconds.
    says(
        &mut shop.producer,
        "❌ [USER-SERVICE] Ошибка отправки в Kafka: ",
    )
    .await;
    shop.producer.kill();
    shop.producer.start_again().await;
    says(
        &mut shop.producer,
        "❌ [USER-SERVICE] Ошибка подключения к Kafka: ",
    )
    .await;
    shop.stage.restart().await;
    shop.has_cart(1).await;
    assert_nothing_personal(&shop.producer.process);
}
