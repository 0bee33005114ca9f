"""kafka-python behind the commands that tests/harness/clients.py describes (all but `pump`)."""

import json
import signal
import sys

from common import consumer_options, member_options, options, producer_options, records, say, show
from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError


def produce(o):
    producer = KafkaProducer(
        **producer_options(o),
        delivery_timeout_ms=int(o.get("timeout-ms", "30000")),
        request_timeout_ms=min(10_000, int(o.get("timeout-ms", "30000")) - 1_000),
    )
    sent = [
        producer.send(
            o["topic"], r["value"], r["key"], headers=r["headers"], partition=r["partition"], timestamp_ms=r["timestamp"]
        )
        for r in records()
    ]
    producer.flush()
    for future in sent:
        try:
            answer = future.get(timeout=60)
            print(json.dumps({"partition": answer.partition, "offset": answer.offset}))
        except KafkaError as error:
            print(json.dumps({"error": error.errno, "message": str(error)}))
    producer.close()


def consume(o):
    consumer = KafkaConsumer(
        **consumer_options(o),
    )
    consumer.assign([TopicPartition(o["topic"], p) for p in consumer.partitions_for_topic(o["topic"])])
    consumer.seek_to_beginning()
    for _ in range(int(o["count"])):
        m = next(consumer)
        show(m.partition, m.offset, m.key, m.value, m.headers, m.timestamp)
    consumer.close()


class Told(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        say("revoked", [p.partition for p in revoked])

    def on_partitions_assigned(self, assigned):
        say("assigned", [p.partition for p in assigned])

    def on_partitions_lost(self, lost):
        say("lost", [p.partition for p in lost])


def member(o):
    assignor = CooperativeStickyAssignor if o.get("assignor") == "cooperative-sticky" else RangePartitionAssignor
    consumer = KafkaConsumer(
        **member_options(o),
        partition_assignment_strategy=[assignor],
    )
    leaving = []
    signal.signal(signal.SIGTERM, lambda *_: leaving.append(True))
    consumer.subscribe([o["topic"]], listener=Told())
    with open(o["out"], "wb") as out:
        while not leaving:
            batches = consumer.poll(timeout_ms=200)
            for records in batches.values():
                for m in records:
                    out.write(b"%d\t%d\t%s\t%s\n" % (m.partition, m.offset, m.key or b"", m.value or b""))
            out.flush()
            if batches:
                try:
                    consumer.commit()
                except KafkaError as error:  # read again: the tests allow repetition
                    print("not committed:", error, file=sys.stderr)
    consumer.close()


if __name__ == "__main__":
    command, o = options()
    {"produce": produce, "consume": consume, "member": member}[command](o)
