// A word count with Kafka Streams: its table is a compacted topic, its repartition topic one without
// retention. scripts/test-tools runs it: java -cp JARS WordCount.java BOOTSTRAP APPLICATION-ID
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.state.Stores;

public class WordCount {
    public static void main(String[] arguments) throws Exception {
        Map<String, Object> kafka = Map.of("bootstrap.servers", arguments[0]);
        String id = arguments[1], in = id + "-in", out = id + "-out";
        try (Admin admin = Admin.create(kafka)) {
            NewTopic table = new NewTopic(out, 2, (short) 1).configs(Map.of("cleanup.policy", "compact"));
            admin.createTopics(List.of(new NewTopic(in, 2, (short) 1), table)).all().get();
        }
        StreamsBuilder builder = new StreamsBuilder();
        // In memory, so that no native library is needed; the changelog topic is the same.
        Materialized<String, Long, org.apache.kafka.streams.state.KeyValueStore<org.apache.kafka.common.utils.Bytes, byte[]>> counts =
                Materialized.as(Stores.inMemoryKeyValueStore("counts"));
        builder.stream(in, Consumed.with(Serdes.String(), Serdes.String()))
                .flatMapValues(line -> List.of(line.split(" ")))
                .groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
                .count(counts.withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()))
                .toStream()
                .to(out, Produced.with(Serdes.String(), Serdes.Long()));
        Properties settings = new Properties();
        settings.putAll(kafka);
        settings.put("application.id", id);
        settings.put("commit.interval.ms", 200);
        settings.put("state.dir", System.getProperty("java.io.tmpdir") + "/" + id);
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.start();
        try (var producer = new KafkaProducer<>(kafka, new StringSerializer(), new StringSerializer())) {
            for (String line : List.of("all streams lead to kafka", "hello kafka streams", "join kafka summit")) {
                producer.send(new ProducerRecord<>(in, line, line)).get();
            }
        }
        Map<String, Long> counted = new TreeMap<>();
        Map<String, Object> reading = new HashMap<>(kafka);
        reading.put("group.id", id + "-reader");
        reading.put("auto.offset.reset", "earliest");
        try (var consumer = new KafkaConsumer<>(reading, new StringDeserializer(), new LongDeserializer())) {
            consumer.subscribe(List.of(out));
            long deadline = System.currentTimeMillis() + 40_000;
            // Eight words that make eleven.
            while (counted.values().stream().mapToLong(Long::longValue).sum() < 11
                    && System.currentTimeMillis() < deadline) {
                consumer.poll(Duration.ofMillis(200)).forEach(record -> counted.put(record.key(), record.value()));
            }
        }
        streams.close(Duration.ofSeconds(10));
        streams.cleanUp();
        System.out.println(counted);
    }
}
