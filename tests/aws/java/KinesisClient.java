import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.core.async.SdkPublisher;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.ListShardsResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.Record;
import software.amazon.awssdk.services.kinesis.model.StartingPosition;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEvent;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEventStream;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardResponseHandler;
import software.amazon.awssdk.services.kinesis.model.Tag;

/**
 * The AWS SDK for Java v2, asynchronous over Netty with HTTP/2 and CBOR as it comes, behind the calls that
 * tests/harness/kinesis.py describes.
 */
public final class KinesisClient {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static KinesisAsyncClient client;

    private KinesisClient() {}

    public static void main(String[] arguments) throws IOException {
        client = KinesisAsyncClient.builder()
            .endpointOverride(URI.create(arguments[0]))
            .region(Region.of(arguments[1]))
            .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("key", "secret")))
            .build();
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                say(answer(JSON.readTree(line)));
            }
        }
    }

    private static void say(ObjectNode what) {
        System.out.println(what);
        System.out.flush();
    }

    private static ObjectNode answer(JsonNode call) {
        try {
            return switch (call.get("do").asText()) {
                case "create" -> create(call);
                case "delete" -> delete(call);
                case "put" -> put(call);
                case "put_many" -> putMany(call);
                case "shards" -> shards(call);
                case "read" -> read(call);
                case "retain" -> retain(call);
                case "tag" -> tag(call);
                case "register" -> register(call);
                case "subscribe" -> subscribe(call);
                default -> throw new IllegalArgumentException("no such call: " + call);
            };
        } catch (CompletionException e) {
            if (e.getCause() instanceof AwsServiceException refused) {
                return object().put("error", refused.awsErrorDetails().errorCode())
                    .put("message", refused.awsErrorDetails().errorMessage());
            }
            e.printStackTrace();
            return object().put("error", "client").put("message", String.valueOf(e.getCause()));
        }
    }

    private static ObjectNode object() {
        return JSON.createObjectNode();
    }

    private static String text(JsonNode call, String name) {
        return call.hasNonNull(name) ? call.get(name).asText() : null;
    }

    private static Instant instant(JsonNode call) {
        return call.hasNonNull("timestamp_ms") ? Instant.ofEpochMilli(call.get("timestamp_ms").asLong()) : null;
    }

    private static SdkBytes data(JsonNode call) {
        try {
            return SdkBytes.fromByteArray(call.get("data").binaryValue());
        } catch (IOException e) {
            throw new IllegalArgumentException(e);
        }
    }

    private static ObjectNode create(JsonNode call) {
        String stream = text(call, "stream");
        client.createStream(r -> r.streamName(stream).shardCount(call.get("shards").asInt())).join();
        var found = client.waiter().waitUntilStreamExists(r -> r.streamName(stream)).join().matched().response().orElseThrow();
        return object().put("arn", found.streamDescription().streamARN());
    }

    private static ObjectNode delete(JsonNode call) {
        client.deleteStream(r -> r.streamName(text(call, "stream")).enforceConsumerDeletion(true)).join();
        return object();
    }

    private static ObjectNode put(JsonNode call) {
        var done = client.putRecord(r -> r.streamName(text(call, "stream")).partitionKey(text(call, "key")).data(data(call))
            .explicitHashKey(text(call, "hash"))).join();
        return object().put("shard", done.shardId()).put("sequence", done.sequenceNumber());
    }

    private static ObjectNode putMany(JsonNode call) {
        List<PutRecordsRequestEntry> entries = new ArrayList<>();
        for (JsonNode record : call.get("records")) {
            entries.add(PutRecordsRequestEntry.builder().partitionKey(text(record, "key")).data(data(record))
                .explicitHashKey(text(record, "hash")).build());
        }
        var done = client.putRecords(r -> r.streamName(text(call, "stream")).records(entries)).join();
        ObjectNode said = object().put("failed", done.failedRecordCount());
        ArrayNode stored = said.putArray("records");
        done.records().forEach(r -> stored.addObject().put("shard", r.shardId()).put("sequence", r.sequenceNumber()));
        return said;
    }

    private static ObjectNode shards(JsonNode call) {
        ObjectNode said = object();
        ArrayNode all = said.putArray("shards");
        ListShardsResponse page = client.listShards(r -> r.streamName(text(call, "stream")).maxResults(2)).join();
        while (true) {
            page.shards().forEach(s -> all.addObject().put("id", s.shardId())
                .put("first", s.hashKeyRange().startingHashKey()).put("last", s.hashKeyRange().endingHashKey()));
            String token = page.nextToken();
            if (token == null) {
                return said;
            }
            page = client.listShards(r -> r.nextToken(token).maxResults(2)).join();
        }
    }

    private static void show(Record record, ArrayNode to) {
        to.addObject().put("sequence", record.sequenceNumber()).put("key", record.partitionKey())
            .put("data", record.data().asByteArray()).put("arrived_ms", record.approximateArrivalTimestamp().toEpochMilli());
    }

    private static ObjectNode read(JsonNode call) {
        ObjectNode said = object();
        ArrayNode found = said.putArray("records");
        String next = client.getShardIterator(r -> r.streamName(text(call, "stream")).shardId(text(call, "shard"))
            .shardIteratorType(text(call, "type")).startingSequenceNumber(text(call, "sequence")).timestamp(instant(call)))
            .join().shardIterator();
        while (true) {
            String from = next;
            GetRecordsResponse page = client.getRecords(r -> r.shardIterator(from).limit(30)).join();
            page.records().forEach(record -> show(record, found));
            if (page.millisBehindLatest() == 0) {
                return said;
            }
            next = page.nextShardIterator();
        }
    }

    private static ObjectNode retain(JsonNode call) {
        String stream = text(call, "stream");
        client.increaseStreamRetentionPeriod(r -> r.streamName(stream).retentionPeriodHours(call.get("hours").asInt())).join();
        var now = client.describeStreamSummary(r -> r.streamName(stream)).join().streamDescriptionSummary();
        return object().put("hours", now.retentionPeriodHours());
    }

    private static ObjectNode tag(JsonNode call) {
        String stream = text(call, "stream");
        var tags = JSON.convertValue(call.get("tags"), new com.fasterxml.jackson.core.type.TypeReference<java.util.Map<String, String>>() {});
        client.addTagsToStream(r -> r.streamName(stream).tags(tags)).join();
        ObjectNode said = object();
        ObjectNode all = said.putObject("tags");
        for (Tag tag : client.listTagsForStream(r -> r.streamName(stream)).join().tags()) {
            all.put(tag.key(), tag.value());
        }
        return said;
    }

    private static ObjectNode register(JsonNode call) {
        var done = client.registerStreamConsumer(r -> r.streamARN(text(call, "arn")).consumerName(text(call, "consumer"))).join();
        return object().put("arn", done.consumer().consumerARN());
    }

    private static ObjectNode subscribe(JsonNode call) {
        int count = call.get("count").asInt();
        StartingPosition position = StartingPosition.builder().type(text(call, "type")).sequenceNumber(text(call, "sequence"))
            .timestamp(instant(call)).build();
        ObjectNode said = object();
        ArrayNode found = said.putArray("records");
        CompletableFuture<ObjectNode> enough = new CompletableFuture<>();
        SubscribeToShardResponseHandler handler = SubscribeToShardResponseHandler.builder()
            .onResponse(response -> say(object().put("subscribed", true)))
            .onEventStream((SdkPublisher<SubscribeToShardEventStream> events) ->
                events.filter(SubscribeToShardEvent.class).subscribe(event -> {
                    event.records().forEach(record -> show(record, found));
                    if (found.size() >= count) {
                        enough.complete(said.put("continuation", event.continuationSequenceNumber()));
                    }
                }))
            .onError(enough::completeExceptionally)
            .build();
        CompletableFuture<Void> whole = client.subscribeToShard(
            r -> r.consumerARN(text(call, "arn")).shardId(text(call, "shard")).startingPosition(position), handler);
        try {
            return enough.join();
        } finally {
            whole.cancel(true);
        }
    }
}
