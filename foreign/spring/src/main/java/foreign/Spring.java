package foreign;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.datatype.jsr310.JavaTimeModule;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.springframework.kafka.core.DefaultKafkaConsumerFactory;
import org.springframework.kafka.core.DefaultKafkaProducerFactory;
import org.springframework.kafka.core.KafkaTemplate;
import org.springframework.kafka.listener.ConcurrentMessageListenerContainer;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.DeadLetterPublishingRecoverer;
import org.springframework.kafka.listener.DefaultErrorHandler;
import org.springframework.kafka.listener.MessageListener;
import org.springframework.kafka.support.serializer.ErrorHandlingDeserializer;
import org.springframework.kafka.support.serializer.JsonDeserializer;
import org.springframework.kafka.support.serializer.JsonSerializer;
import org.springframework.util.backoff.FixedBackOff;

/**
 * An order-service on Spring for Apache Kafka beside our other parts: it places orders, reads their statuses, and has a
 * listener of its own that fails, so that its dead letter can be replayed.
 *
 * <p>Steps, one a run of {@code scripts/foreign}: {@code orders BOOTSTRAP}, {@code dead-letter BOOTSTRAP ID GROUP},
 * {@code replayed BOOTSTRAP ID GROUP}.
 */
public final class Spring {
    /** Longer than a member that was killed is waited for by its group (45 s). */
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    /** What JsonSerializer makes of it: createdAt as a decimal of seconds, and the class in __TypeId__. */
    public record OrderEvent(String orderId, String product, int quantity, UUID userId, Instant createdAt) {}

    /** The contract's fields, and no other: a new field in the status would make a plain ObjectMapper fail. */
    public record OrderStatusEvent(String orderId, String status, String reason, String updatedAt) {}

    public static void main(String[] arguments) throws Exception {
        String bootstrap = arguments[1];
        int status = 0;
        try {
            switch (arguments[0]) {
                case "orders" -> orders(bootstrap);
                case "dead-letter" -> deadLetter(bootstrap, arguments[2], arguments[3]);
                case "replayed" -> replayed(bootstrap, arguments[2], arguments[3]);
                default -> throw new IllegalArgumentException(arguments[0]);
            }
        } catch (Throwable failed) {
            failed.printStackTrace();
            status = 1;
        }
        // Containers that still run would keep the JVM, also after a check that failed.
        System.exit(status);
    }

    /** Places an order as Spring does, and waits until our consumer-svc has confirmed it. */
    private static void orders(String bootstrap) throws Exception {
        String orderId = "spring-" + UUID.randomUUID();
        // Spring's own mapper writes an Instant as a decimal of seconds: 1767323045.678000000.
        try (var json = new JsonSerializer<OrderEvent>()) {
            var factory = new DefaultKafkaProducerFactory<>(
                    Map.of("bootstrap.servers", bootstrap), new StringSerializer(), json);
            var order = new OrderEvent(orderId, "Laptop", 1, UUID.randomUUID(), Instant.now());
            var sent = new KafkaTemplate<>(factory).send("order_topic", orderId, order).get(30, TimeUnit.SECONDS);
            String type = new String(
                    sent.getProducerRecord().headers().lastHeader("__TypeId__").value(), StandardCharsets.UTF_8);
            System.out.println("sent " + orderId + " with __TypeId__ " + type);
            factory.destroy();
        }
        // Nothing is known of our classes, and new ObjectMapper() refuses unknown fields. What it refuses of others
        // in the topic is passed over: without the wrapper the container would ask for it for ever.
        var mapper = new ObjectMapper().registerModule(new JavaTimeModule());
        var value = new ErrorHandlingDeserializer<>(new JsonDeserializer<>(OrderStatusEvent.class, mapper, false));
        BlockingQueue<OrderStatusEvent> statuses = new LinkedBlockingQueue<>();
        MessageListener<String, OrderStatusEvent> listener = record -> {
            if (orderId.equals(record.key())) {
                statuses.add(record.value());
            }
        };
        var container = container(bootstrap, "spring-" + orderId, "order_status_topic", value, listener);
        container.start();
        for (String expected : List.of("CREATED", "CONFIRMED")) {
            OrderStatusEvent status = statuses.poll(PATIENCE.toSeconds(), TimeUnit.SECONDS);
            if (status == null || !expected.equals(status.status())) {
                throw new AssertionError("expected " + expected + " of " + orderId + ", got " + status);
            }
        }
        container.stop();
        System.out.println("read CREATED and CONFIRMED of " + orderId);
    }

    /** A listener that fails for one order, which goes to order_topic-dlt by DeadLetterPublishingRecoverer. */
    private static void deadLetter(String bootstrap, String orderId, String group) throws Exception {
        var factory = new DefaultKafkaProducerFactory<>(
                Map.of("bootstrap.servers", bootstrap), new StringSerializer(), new ByteArraySerializer());
        var template = new KafkaTemplate<>(factory);
        BlockingQueue<Long> recovered = new LinkedBlockingQueue<>();
        MessageListener<String, byte[]> listener = record -> {
            if (orderId.equals(record.key())) {
                throw new IllegalStateException("no stock");
            }
        };
        var container = container(bootstrap, group, "order_topic", new ByteArrayDeserializer(), listener);
        var recoverer = new DeadLetterPublishingRecoverer(template);
        container.setCommonErrorHandler(new DefaultErrorHandler(
                (record, error) -> {
                    recoverer.accept(record, null, error);
                    recovered.add(record.offset());
                },
                new FixedBackOff(0, 1)));
        container.start();
        String order = "{\"orderId\":\"" + orderId + "\",\"product\":\"Laptop\",\"quantity\":1}";
        template.send("order_topic", orderId, order.getBytes(StandardCharsets.UTF_8)).get(30, TimeUnit.SECONDS);
        if (recovered.poll(PATIENCE.toSeconds(), TimeUnit.SECONDS) == null) {
            throw new AssertionError("no dead letter was written for " + orderId);
        }
        container.stop();
        factory.destroy();
        System.out.println("wrote a dead letter of " + orderId);
    }

    /** The same listener, put right: the replay comes to it, with dlt-replay-of. */
    private static void replayed(String bootstrap, String orderId, String group) throws Exception {
        BlockingQueue<ConsumerRecord<String, byte[]>> records = new LinkedBlockingQueue<>();
        AtomicBoolean withLetterHeaders = new AtomicBoolean();
        MessageListener<String, byte[]> listener = record -> {
            if (orderId.equals(record.key()) && record.headers().lastHeader("dlt-replay-of") != null) {
                withLetterHeaders.set(record.headers().lastHeader("kafka_dlt-original-offset") != null);
                records.add(record);
            }
        };
        var container = container(bootstrap, group, "order_topic", new ByteArrayDeserializer(), listener);
        container.start();
        if (records.poll(PATIENCE.toSeconds(), TimeUnit.SECONDS) == null) {
            throw new AssertionError("no replay of " + orderId + " came");
        }
        if (withLetterHeaders.get()) {
            throw new AssertionError("the replay of " + orderId + " has the letter's headers");
        }
        container.stop();
        System.out.println("read the replay of " + orderId);
    }

    private static <V> ConcurrentMessageListenerContainer<String, V> container(
            String bootstrap,
            String group,
            String topic,
            org.apache.kafka.common.serialization.Deserializer<V> value,
            MessageListener<String, V> listener) {
        var factory = new DefaultKafkaConsumerFactory<>(
                Map.<String, Object>of(
                        "bootstrap.servers", bootstrap, "group.id", group, "auto.offset.reset", "earliest"),
                new StringDeserializer(),
                value);
        var properties = new ContainerProperties(topic);
        properties.setMessageListener(listener);
        return new ConcurrentMessageListenerContainer<>(factory, properties);
    }

    private Spring() {}
}
