import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.IntStream;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** The commands that write histories: write, tail, group. */
final class HistoryClients {
    private static volatile boolean told;

    private HistoryClients() {}

    /** SIGTERM says to come to an end; the program then ends by itself, with its own exit code. */
    private static void untilToldToStop() {
        Thread main = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            told = true;
            try {
                main.join();
            } catch (InterruptedException e) {
                main.interrupt();
            }
            Runtime.getRuntime().halt(failed == null ? 0 : 1); // a JVM that ends by a signal would say 143
        }));
    }

    private static volatile Exception failed;

    private interface Body {
        void run(History history) throws Exception;
    }

    private static void run(Map<String, String> options, Body body) throws Exception {
        untilToldToStop();
        try (History history = new History(options.get("history"), options.get("process"), options.get("label"))) {
            body.run(history);
        } catch (Exception e) {
            failed = e;
            throw e;
        }
    }

    /** A server that comes back is found at once. */
    private static Properties impatient(Map<String, String> options) {
        Properties config = new Properties();
        config.put("bootstrap.servers", options.get("bootstrap"));
        config.put("reconnect.backoff.ms", "20");
        config.put("reconnect.backoff.max.ms", "200");
        config.put("retry.backoff.ms", "50");
        config.put("retry.backoff.max.ms", "200");
        return config;
    }

    static void write(Map<String, String> options) throws Exception {
        run(options, history -> {
            Properties config = impatient(options);
            config.put("enable.idempotence", "true");
            config.put("delivery.timeout.ms", "600000");
            config.put("max.block.ms", "600000");
            config.put("request.timeout.ms", "10000");
            config.put("linger.ms", "2");
            config.put("buffer.memory", "1000000");
            int partitions = Integer.parseInt(options.get("partitions"));
            double rate = Double.parseDouble(options.get("rate"));
            AtomicLong acked = new AtomicLong();
            AtomicReference<Exception> lost = new AtomicReference<>();
            try (KafkaProducer<String, String> producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
                long began = System.nanoTime();
                for (long number = 1; !told && lost.get() == null; number++) {
                    while (!told && number > rate * (System.nanoTime() - began) / 1e9) {
                        Thread.onSpinWait();
                        java.util.concurrent.locks.LockSupport.parkNanos(500_000);
                    }
                    send(options, history, producer, (int) (number % partitions), number, acked, lost);
                }
            }
            if (lost.get() != null) {
                throw lost.get();
            }
        });
    }

    private static void send(
            Map<String, String> options, History history, KafkaProducer<String, String> producer, int partition, long number,
            AtomicLong acked, AtomicReference<Exception> lost) {
        String value = options.get("process") + "-" + number;
        long op = history.begin("send", History.fields()
            .put("topic", history.label).put("partition", partition).put("value", value).put("idempotent", true));
        producer.send(new ProducerRecord<>(options.get("topic"), partition, null, value), (metadata, e) -> {
            if (e != null) {
                lost.compareAndSet(null, e);
                history.add("info", History.fields().put("op", op).put("text", e.toString()));
                return;
            }
            ObjectNode sent = History.fields().put("op", op);
            history.add("sent", metadata.hasOffset() ? sent.put("offset", metadata.offset()) : sent);
            long count = acked.incrementAndGet();
            if (count % 50 == 0) {
                System.out.println("acked " + count);
            }
        });
    }

    private static Properties consumerConfig(Map<String, String> options, String reset) {
        Properties config = impatient(options);
        config.put("auto.offset.reset", reset);
        config.put("enable.auto.commit", "false");
        config.put("fetch.max.wait.ms", "100");
        config.put("request.timeout.ms", "10000");
        return config;
    }

    /** Writes down what came; where the reader goes on, by partition. */
    private static Map<TopicPartition, OffsetAndMetadata> polled(History history, KafkaConsumer<String, String> consumer) {
        Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
        ObjectNode polled = History.fields();
        ArrayNode records = polled.putArray("records");
        for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(100))) {
            records.add(history.at(r.partition(), r.offset()).add(r.value()));
            next.put(new TopicPartition(r.topic(), r.partition()), new OffsetAndMetadata(r.offset() + 1));
        }
        if (!records.isEmpty()) {
            history.add("polled", polled);
        }
        return next;
    }

    /** Reads all partitions from their start; full: to their end. Told to stop, it goes on to the end that there is then. */
    static void tail(Map<String, String> options) throws Exception {
        run(options, history -> {
            boolean full = options.containsKey("full");
            List<TopicPartition> logs = IntStream.range(0, Integer.parseInt(options.get("partitions")))
                .mapToObj(p -> new TopicPartition(options.get("topic"), p)).toList();
            try (KafkaConsumer<String, String> consumer =
                    new KafkaConsumer<>(consumerConfig(options, "none"), new StringDeserializer(), new StringDeserializer())) {
                ObjectNode assigned = History.fields();
                ArrayNode list = assigned.putArray("logs");
                logs.forEach(log -> list.add(history.at(log.partition(), 0L)));
                history.add("assigned", assigned);
                consumer.assign(logs);
                logs.forEach(log -> consumer.seek(log, 0));
                fullRead(history, logs, full, "full_read_begun");
                Map<TopicPartition, Long> ends = null;
                while (ends == null || ends.entrySet().stream().anyMatch(end -> consumer.position(end.getKey()) < end.getValue())) {
                    if (ends == null && (full || told)) {
                        ends = consumer.endOffsets(logs);
                    }
                    polled(history, consumer);
                }
                fullRead(history, logs, full, "full_read_ended");
            }
        });
    }

    private static void fullRead(History history, List<TopicPartition> logs, boolean full, String event) {
        for (TopicPartition log : full ? logs : List.<TopicPartition>of()) {
            history.add(event, History.fields().put("topic", history.label).put("partition", log.partition()));
        }
    }

    /** A member of a group that commits what it read. */
    static void group(Map<String, String> options) throws Exception {
        run(options, history -> {
            Properties config = consumerConfig(options, "earliest");
            config.put("group.id", options.get("group"));
            config.put("session.timeout.ms", "10000");
            config.put("heartbeat.interval.ms", "500");
            try (KafkaConsumer<String, String> consumer =
                    new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
                history.add("subscribed", History.fields());
                consumer.subscribe(List.of(options.get("topic")), new Told(history));
                while (!told) {
                    Map<TopicPartition, OffsetAndMetadata> next = polled(history, consumer);
                    if (!next.isEmpty()) {
                        commit(options, history, consumer, next);
                    }
                }
            }
        });
    }

    private static void commit(
            Map<String, String> options, History history, KafkaConsumer<String, String> consumer,
            Map<TopicPartition, OffsetAndMetadata> next) {
        ObjectNode commit = History.fields().put("group", options.get("group"));
        ArrayNode offsets = commit.putArray("offsets");
        next.forEach((log, at) -> offsets.add(history.at(log.partition(), at.offset())));
        long op = history.begin("commit", commit);
        try {
            consumer.commitSync(next);
            history.add("committed", History.fields().put("op", op));
        } catch (KafkaException e) {
            history.add("info", History.fields().put("op", op).put("text", e.toString()));
        }
    }

    private record Told(History history) implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> logs) {
            ObjectNode rebalanced = History.fields();
            ArrayNode list = rebalanced.putArray("assigned");
            logs.forEach(log -> list.add(history.at(log.partition(), null)));
            history.add("rebalanced", rebalanced);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> logs) {
            ObjectNode rebalanced = History.fields();
            ArrayNode list = rebalanced.putArray("revoked");
            logs.forEach(log -> list.add(history.at(log.partition())));
            history.add("rebalanced", rebalanced);
        }
    }
}
