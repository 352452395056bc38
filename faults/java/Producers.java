import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Producers that do what standard input says, a line each, and answer each with a line: {@code ok …} or
 * {@code failed …}. Words are separated by spaces; {@code -} is null.
 *
 *   open NAME SETTING=VALUE…                                    with transactional.id: its transactions begin
 *   send NAME TOPIC PARTITION KEY VALUE HEADER=VALUE|HEADER…    a header without a value has a null one; no answer
 *                                                               before it is acknowledged: ok OFFSET
 *   begin | commit | abort | flush | close NAME
 *
 * Argument: bootstrap servers. Ends with its standard input.
 */
public class Producers {
    public static void main(String[] arguments) throws Exception {
        Map<String, KafkaProducer<String, String>> producers = new HashMap<>();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String answer;
            try {
                answer = "ok" + act(arguments[0], producers, line.split(" "));
            } catch (Exception failed) {
                answer = "failed " + failed;
            }
            System.out.println(answer);
            System.out.flush();
        }
    }

    private static String act(String bootstrap, Map<String, KafkaProducer<String, String>> producers, String[] words)
            throws Exception {
        KafkaProducer<String, String> producer = producers.get(words[1]);
        switch (words[0]) {
            case "open" -> producers.put(words[1], open(bootstrap, words));
            case "send" -> {
                Integer partition = words[3].equals("-") ? null : Integer.valueOf(words[3]);
                ProducerRecord<String, String> record =
                        new ProducerRecord<>(words[2], partition, orNull(words[4]), orNull(words[5]));
                for (int at = 6; at < words.length; at++) {
                    String[] header = words[at].split("=", 2);
                    byte[] value = header.length < 2 ? null : header[1].getBytes(StandardCharsets.UTF_8);
                    record.headers().add(header[0], value);
                }
                return " " + producer.send(record).get().offset();
            }
            case "begin" -> producer.beginTransaction();
            case "commit" -> producer.commitTransaction();
            case "abort" -> producer.abortTransaction();
            case "flush" -> producer.flush();
            case "close" -> producer.close();
            default -> throw new IllegalArgumentException("no such command: " + words[0]);
        }
        return "";
    }

    private static KafkaProducer<String, String> open(String bootstrap, String[] words) {
        Map<String, Object> configuration = new HashMap<>();
        configuration.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
        configuration.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        configuration.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
        for (int at = 2; at < words.length; at++) {
            String[] setting = words[at].split("=", 2);
            configuration.put(setting[0], setting[1]);
        }
        KafkaProducer<String, String> producer = new KafkaProducer<>(configuration);
        if (configuration.containsKey(ProducerConfig.TRANSACTIONAL_ID_CONFIG)) {
            producer.initTransactions();
        }
        return producer;
    }

    private static String orNull(String word) {
        return word.equals("-") ? null : word;
    }
}
