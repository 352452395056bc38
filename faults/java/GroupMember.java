import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * A member of a group that says what it owns and what it reads, a line each, and commits after every poll:
 *
 *   assigned GENERATION PARTITION…     added to what it owns
 *   revoked GENERATION PARTITION…      let go of, in the generation it was still in
 *   lost GENERATION PARTITION…
 *   record PARTITION OFFSET
 *
 * Arguments: bootstrap servers, group, topic, assignor class, session timeout in ms. It leaves the group when
 * its standard input ends.
 */
public class GroupMember {
    public static void main(String[] arguments) throws Exception {
        Map<String, Object> configuration = Map.of(
                ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0],
                ConsumerConfig.GROUP_ID_CONFIG, arguments[1],
                ConsumerConfig.PARTITION_ASSIGNMENT_STRATEGY_CONFIG, arguments[3],
                ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG, arguments[4],
                ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG, "300",
                ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
                ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false",
                ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class,
                ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, StringDeserializer.class);
        KafkaConsumer<String, String> consumer = new KafkaConsumer<>(configuration);
        Thread input = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {}
            } catch (java.io.IOException ended) {
                // As good as its end.
            }
            consumer.wakeup();
        });
        input.setDaemon(true);
        input.start();
        try (consumer) {
            consumer.subscribe(List.of(arguments[2]), new Listener(consumer));
            while (true) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
                for (ConsumerRecord<String, String> record : records) {
                    say("record " + record.partition() + " " + record.offset());
                }
                if (!records.isEmpty()) {
                    commit(consumer);
                }
            }
        } catch (WakeupException asked) {
            // The consumer is closed: it commits nothing, and leaves.
        }
    }

    /** In a rebalance a commit may be refused; whoever has the partitions then reads the records again. */
    private static void commit(KafkaConsumer<String, String> consumer) {
        try {
            consumer.commitSync();
        } catch (org.apache.kafka.clients.consumer.CommitFailedException
                | org.apache.kafka.common.errors.RebalanceInProgressException refused) {
            say("refused " + refused.getMessage().lines().findFirst().orElse(""));
        }
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private record Listener(KafkaConsumer<String, String> consumer) implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            say("assigned", partitions);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            say("revoked", partitions);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            say("lost", partitions);
        }

        private void say(String what, Collection<TopicPartition> partitions) {
            String numbers = partitions.stream()
                    .map(partition -> " " + partition.partition())
                    .collect(Collectors.joining());
            GroupMember.say(what + " " + consumer.groupMetadata().generationId() + numbers);
        }
    }
}
