import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedWriter;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStreamWriter;
import java.io.UncheckedIOException;
import java.util.concurrent.atomic.AtomicLong;

import static java.nio.charset.StandardCharsets.UTF_8;

/** What a client did and saw, as JSON lines for `millrace history check` (docs/history.md). Lines are in the order of their times. */
final class History implements AutoCloseable {
    private static final ObjectMapper JSON = new ObjectMapper();
    final String label;
    private final String process;
    private final BufferedWriter out;
    private final AtomicLong ops = new AtomicLong();

    History(String file, String process, String label) throws IOException {
        this.process = process;
        this.label = label;
        this.out = new BufferedWriter(new OutputStreamWriter(new FileOutputStream(file, true), UTF_8));
    }

    static ObjectNode fields() {
        return JSON.createObjectNode();
    }

    /** A log with an offset, or null for it. */
    ArrayNode at(int partition, Long offset) {
        return JSON.createArrayNode().add(label).add(partition).add(offset);
    }

    ArrayNode at(int partition) {
        return JSON.createArrayNode().add(label).add(partition);
    }

    /** nanoTime is CLOCK_MONOTONIC on Linux, the clock of the other clients' histories. */
    synchronized void add(String event, ObjectNode fields) {
        ObjectNode line = fields.put("time", System.nanoTime()).put("process", process).put("event", event);
        try {
            out.write(line.toString());
            out.write('\n');
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** An invocation; its number is for the completion. */
    long begin(String event, ObjectNode fields) {
        long op = ops.incrementAndGet();
        add(event, fields.put("op", op));
        return op;
    }

    @Override
    public synchronized void close() throws IOException {
        out.close();
    }
}
