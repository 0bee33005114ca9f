import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import org.apache.camel.CamelContext;
import org.apache.camel.ProducerTemplate;
import org.apache.camel.builder.RouteBuilder;
import org.apache.camel.component.aws2.kinesis.Kinesis2Constants;
import org.apache.camel.impl.DefaultCamelContext;

/**
 * Apache Camel's component aws2-kinesis, whose client is synchronous, or not where ASYNC is true.
 *
 * <pre>
 * CamelKinesis sink ENDPOINT REGION STREAM ASYNC           lines of stdin, key TAB value
 * CamelKinesis source ENDPOINT REGION STREAM ASYNC COUNT   prints as many, from the beginning
 * </pre>
 */
public final class CamelKinesis {
    private CamelKinesis() {}

    public static void main(String[] arguments) throws Exception {
        String uri = "aws2-kinesis:" + arguments[3] + "?overrideEndpoint=true&uriEndpointOverride=RAW(" + arguments[1]
            + ")&region=" + arguments[2] + "&accessKey=key&secretKey=secret&asyncClient=" + arguments[4];
        try (CamelContext camel = new DefaultCamelContext()) {
            if (arguments[0].equals("sink")) {
                sink(camel, uri);
            } else {
                source(camel, uri, Integer.parseInt(arguments[5]));
            }
        }
    }

    private static void sink(CamelContext camel, String uri) throws Exception {
        camel.addRoutes(new RouteBuilder() {
            @Override
            public void configure() {
                from("direct:in").to(uri);
            }
        });
        camel.start();
        try (ProducerTemplate producer = camel.createProducerTemplate();
                BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                String[] parts = line.split("\t", 2);
                producer.sendBodyAndHeaders("direct:in", parts[1].getBytes(StandardCharsets.UTF_8),
                    Map.of(Kinesis2Constants.PARTITION_KEY, parts[0]));
            }
        }
    }

    private static void source(CamelContext camel, String uri, int count) throws Exception {
        CountDownLatch left = new CountDownLatch(count);
        camel.addRoutes(new RouteBuilder() {
            @Override
            public void configure() {
                from(uri + "&iteratorType=TRIM_HORIZON&delay=50&initialDelay=0").process(exchange -> {
                    String key = exchange.getIn().getHeader(Kinesis2Constants.PARTITION_KEY, String.class);
                    System.out.println(key + "\t" + new String(exchange.getIn().getBody(byte[].class), StandardCharsets.UTF_8));
                    System.out.flush();
                    left.countDown();
                });
            }
        });
        camel.start();
        left.await();
    }
}
