import java.io.IOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * A worker of the Kinesis Client Library: {@code Kcl ENDPOINT DYNAMODB REGION STREAM APPLICATION fan-out|polling}.
 * It prints "record SHARD KEY VALUE" and checkpoints, and "ended SHARD", until its stdin is closed.
 */
public final class Kcl {
    private Kcl() {}

    public static void main(String[] arguments) throws Exception {
        URI kinesisAt = URI.create(arguments[0]);
        URI dynamoAt = URI.create(arguments[1]);
        Region region = Region.of(arguments[2]);
        String stream = arguments[3];
        var credentials = StaticCredentialsProvider.create(AwsBasicCredentials.create("key", "secret"));
        KinesisAsyncClient kinesis = KinesisClientUtil.createKinesisAsyncClient(
            KinesisAsyncClient.builder().endpointOverride(kinesisAt).region(region).credentialsProvider(credentials));
        DynamoDbAsyncClient dynamo = DynamoDbAsyncClient.builder().endpointOverride(dynamoAt).region(region)
            .credentialsProvider(credentials).build();
        CloudWatchAsyncClient watch = CloudWatchAsyncClient.builder().endpointOverride(dynamoAt).region(region)
            .credentialsProvider(credentials).build();
        var start = InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);
        ConfigsBuilder configs = new ConfigsBuilder(
            new SingleStreamTracker(stream, start), arguments[4], kinesis, dynamo, watch, "worker", Kcl.Processor::new);
        var retrieval = configs.retrievalConfig();
        if (arguments[5].equals("polling")) {
            retrieval = retrieval.retrievalSpecificConfig(new PollingConfig(stream, kinesis).idleTimeBetweenReadsInMillis(200));
        }
        Scheduler scheduler = new Scheduler(
            configs.checkpointConfig(),
            configs.coordinatorConfig().parentShardPollIntervalMillis(500).shardConsumerDispatchPollIntervalMillis(200),
            configs.leaseManagementConfig().failoverTimeMillis(1000).shardSyncIntervalMillis(1000).leasesRecoveryAuditorExecutionFrequencyMillis(2000),
            configs.lifecycleConfig(),
            configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
            configs.processorConfig(),
            retrieval);
        Thread worker = new Thread(scheduler, "worker");
        worker.start();
        while (System.in.read() >= 0) {
            // until it is closed
        }
        scheduler.startGracefulShutdown().get();
        System.exit(0);
    }

    private static synchronized void say(String what) {
        System.out.println(what);
        System.out.flush();
    }

    private static final class Processor implements ShardRecordProcessor {
        private String shard;

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
            say("began " + shard);
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            input.records().forEach(record -> say("record " + shard + " " + record.partitionKey() + " "
                + StandardCharsets.UTF_8.decode(record.data())));
            try {
                input.checkpointer().checkpoint();
            } catch (InvalidStateException | ShutdownException e) {
                throw new IllegalStateException(e);
            }
        }

        @Override
        public void leaseLost(LeaseLostInput input) {
            say("lost " + shard);
        }

        @Override
        public void shardEnded(ShardEndedInput input) {
            try {
                input.checkpointer().checkpoint();
            } catch (InvalidStateException | ShutdownException e) {
                throw new IllegalStateException(e);
            }
            say("ended " + shard);
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            say("stopping " + shard);
        }
    }
}
