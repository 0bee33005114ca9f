import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

import static java.nio.charset.StandardCharsets.UTF_8;

/** The Java clients behind the commands that tests/harness/clients.py describes. */
public final class Client {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final PrintStream OUT = new PrintStream(new FileOutputStream(java.io.FileDescriptor.out), false, UTF_8);

    public static void main(String[] args) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (int i = 1; i + 1 < args.length; i += 2) {
            options.put(args[i].substring(2), args[i + 1]);
        }
        switch (args[0]) {
            case "produce" -> produce(options);
            case "consume" -> consume(options);
            case "pump" -> pump(options);
            case "member" -> member(options);
            case "write" -> HistoryClients.write(options);
            case "tail" -> HistoryClients.tail(options);
            case "group" -> HistoryClients.group(options);
            default -> throw new IllegalArgumentException("unknown command " + args[0]);
        }
        OUT.flush();
    }

    private static KafkaProducer<String, String> producer(Map<String, String> options) {
        Properties config = new Properties();
        config.put("bootstrap.servers", options.get("bootstrap"));
        config.put("compression.type", options.getOrDefault("compression", "none"));
        config.put("acks", options.getOrDefault("acks", "all"));
        config.put("enable.idempotence", options.getOrDefault("idempotent", "false"));
        config.put("max.request.size", "50000000");
        config.put("buffer.memory", "100000000");
        config.put("delivery.timeout.ms", options.getOrDefault("timeout-ms", "30000"));
        config.put("request.timeout.ms", "5000");
        config.put("linger.ms", "5");
        return new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
    }

    private static Properties consumerConfig(Map<String, String> options) {
        Properties config = new Properties();
        config.put("bootstrap.servers", options.get("bootstrap"));
        config.put("isolation.level", options.getOrDefault("isolation", "read_uncommitted"));
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", "false");
        config.put("allow.auto.create.topics", "false");
        return config;
    }

    private static void produce(Map<String, String> options) throws Exception {
        String topic = options.get("topic");
        List<Future<RecordMetadata>> acks = new ArrayList<>();
        try (KafkaProducer<String, String> producer = producer(options);
                BufferedReader in = new BufferedReader(new InputStreamReader(System.in, UTF_8))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                acks.add(producer.send(record(topic, JSON.readTree(line))));
            }
            producer.flush();
            for (Future<RecordMetadata> ack : acks) {
                OUT.println(answer(ack));
            }
        }
    }

    private static ProducerRecord<String, String> record(String topic, JsonNode line) {
        ProducerRecord<String, String> record = new ProducerRecord<>(
            topic,
            line.hasNonNull("partition") ? line.get("partition").asInt() : null,
            line.hasNonNull("timestamp") ? line.get("timestamp").asLong() : null,
            line.hasNonNull("key") ? line.get("key").asText() : null,
            line.hasNonNull("value") ? line.get("value").asText() : null);
        if (line.hasNonNull("headers")) {
            for (JsonNode header : line.get("headers")) {
                record.headers().add(header.get(0).asText(), header.get(1).asText().getBytes(UTF_8));
            }
        }
        return record;
    }

    private static ObjectNode answer(Future<RecordMetadata> ack) throws InterruptedException {
        ObjectNode answer = JSON.createObjectNode();
        try {
            RecordMetadata metadata = ack.get();
            answer.put("partition", metadata.partition()).put("offset", metadata.offset());
        } catch (ExecutionException e) {
            answer.put("error", Errors.forException(e.getCause()).code()).put("message", e.getCause().getMessage());
        }
        return answer;
    }

    private static void consume(Map<String, String> options) {
        String topic = options.get("topic");
        long wanted = Long.parseLong(options.get("count"));
        try (KafkaConsumer<String, String> consumer =
                new KafkaConsumer<>(consumerConfig(options), new StringDeserializer(), new StringDeserializer())) {
            List<TopicPartition> partitions = consumer.partitionsFor(topic).stream()
                .map(p -> new TopicPartition(topic, p.partition())).toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            for (long seen = 0; seen < wanted; ) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(500))) {
                    OUT.println(shown(record));
                    seen++;
                }
            }
        }
    }

    private static ObjectNode shown(ConsumerRecord<String, String> record) {
        ObjectNode shown = JSON.createObjectNode();
        shown.put("partition", record.partition()).put("offset", record.offset());
        shown.put("key", record.key()).put("value", record.value()).put("timestamp", record.timestamp());
        var headers = shown.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(new String(header.value(), UTF_8));
        }
        return shown;
    }

    private static void pump(Map<String, String> options) throws Exception {
        String topic = options.get("topic");
        AtomicLong acked = new AtomicLong();
        AtomicReference<Exception> failed = new AtomicReference<>();
        long sent = 0;
        try (KafkaProducer<String, String> producer = producer(options);
                BufferedReader in = new BufferedReader(
                    new InputStreamReader(new FileInputStream(options.get("file")), UTF_8))) {
            for (String line = in.readLine(); line != null; line = in.readLine(), sent++) {
                int tab = line.indexOf('\t');
                producer.send(new ProducerRecord<>(topic, line.substring(0, tab), line.substring(tab + 1)), (metadata, e) -> {
                    if (e == null) {
                        acked.incrementAndGet();
                    } else {
                        failed.compareAndSet(null, e);
                    }
                });
            }
        }
        if (failed.get() != null) {
            throw failed.get();
        }
        OUT.println(JSON.createObjectNode().put("sent", sent).put("acked", acked.get()));
    }

    private static void member(Map<String, String> options) throws Exception {
        Properties config = consumerConfig(options);
        config.put("group.id", options.get("group"));
        config.put("session.timeout.ms", options.getOrDefault("session-ms", "6000"));
        config.put("heartbeat.interval.ms", "500");
        config.put("partition.assignment.strategy", options.getOrDefault("assignor", "range").equals("range")
            ? "org.apache.kafka.clients.consumer.RangeAssignor"
            : "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        if (options.containsKey("instance")) {
            config.put("group.instance.id", options.get("instance"));
        }
        KafkaConsumer<String, String> consumer =
            new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
        Thread loop = Thread.currentThread();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            consumer.wakeup();
            try {
                loop.join();
            } catch (InterruptedException e) {
                loop.interrupt();
            }
            Runtime.getRuntime().halt(0); // a JVM that ends by a signal would say 143
        }));
        try (BufferedWriter out = new BufferedWriter(
                new OutputStreamWriter(new FileOutputStream(options.get("out")), UTF_8))) {
            consumer.subscribe(List.of(options.get("topic")), new Told());
            while (true) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(500));
                for (ConsumerRecord<String, String> record : records) {
                    out.write(record.partition() + "\t" + record.offset() + "\t" + record.key() + "\t" + record.value() + "\n");
                }
                out.flush();
                if (!records.isEmpty()) {
                    commit(consumer);
                }
            }
        } catch (WakeupException leaving) {
            consumer.close();
        }
    }

    /** What is not committed (a rebalance, a broker that is away) is read again: the tests allow repetition. */
    private static void commit(KafkaConsumer<String, String> consumer) {
        try {
            consumer.commitSync();
        } catch (WakeupException e) {
            throw e;
        } catch (KafkaException e) {
            System.err.println("not committed: " + e);
        }
    }

    private static final class Told implements ConsumerRebalanceListener {
        private static void say(String what, Collection<TopicPartition> partitions) {
            OUT.println(what + " " + partitions.stream().map(p -> String.valueOf(p.partition()))
                .collect(Collectors.joining(",")));
            OUT.flush();
        }

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
    }
}
