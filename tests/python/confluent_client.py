"""confluent-kafka (librdkafka) behind the commands that tests/harness/clients.py describes."""

import json
import signal
import sys

from common import options, records, say, show
from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaException, Producer, TopicPartition


def producer(o):
    return Producer({
        "bootstrap.servers": o["bootstrap"],
        "compression.type": o.get("compression", "none"),
        "acks": o.get("acks", "all"),
        "enable.idempotence": o.get("idempotent", "false"),
        "message.max.bytes": 50_000_000,
        "queue.buffering.max.messages": 100_000,
        "delivery.timeout.ms": o.get("timeout-ms", "30000"),
        "partitioner": "murmur2_random",
    })  # fmt: skip


def produce(o):
    p = producer(o)
    answers = []

    def told(answer, error, message):
        if error is None:
            answer |= {"partition": message.partition(), "offset": message.offset()}
        else:
            answer |= {"error": error.code(), "message": error.str()}

    for r in records():
        where = {} if r["partition"] is None else {"partition": r["partition"]}
        when = {} if r["timestamp"] is None else {"timestamp": r["timestamp"]}
        answers.append({})
        p.produce(
            o["topic"], r["value"], r["key"], headers=r["headers"], **where, **when,
            on_delivery=lambda e, m, answer=answers[-1]: told(answer, e, m),
        )  # fmt: skip
        p.poll(0)
    p.flush()
    for answer in answers:
        print(json.dumps(answer))


def pump(o):
    p = producer(o)
    sent, acked, failed = 0, 0, []

    def told(error, _message):
        nonlocal acked
        if error is None:
            acked += 1
        else:
            failed.append(error)

    with open(o["file"], "rb") as lines:
        for line in lines:
            key, value = line.rstrip(b"\n").split(b"\t", 1)
            while True:
                try:
                    p.produce(o["topic"], value, key, on_delivery=told)
                    break
                except BufferError:
                    p.poll(0.1)
            sent += 1
            p.poll(0)
    p.flush()
    if failed:
        sys.exit(f"{len(failed)} records failed, the first with {failed[0]}")
    print(json.dumps({"sent": sent, "acked": acked}))


def consume(o):
    c = Consumer({
        "bootstrap.servers": o["bootstrap"],
        "group.id": "unused",
        "isolation.level": o.get("isolation", "read_uncommitted"),
        "enable.auto.commit": False,
        "fetch.message.max.bytes": 50_000_000,
    })  # fmt: skip
    partitions = c.list_topics(o["topic"], timeout=10).topics[o["topic"]].partitions
    c.assign([TopicPartition(o["topic"], p, OFFSET_BEGINNING) for p in partitions])
    left = int(o["count"])
    while left:
        m = c.poll(0.5)
        if m is None:
            continue
        if m.error():
            raise KafkaException(m.error())
        kind, timestamp = m.timestamp()
        timestamp = None if kind == TIMESTAMP_NOT_AVAILABLE else timestamp
        show(m.partition(), m.offset(), m.key(), m.value(), m.headers(), timestamp)
        left -= 1
    c.close()


def member(o):
    config = {
        "bootstrap.servers": o["bootstrap"],
        "group.id": o["group"],
        "session.timeout.ms": o.get("session-ms", "6000"),
        "heartbeat.interval.ms": 500,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "partition.assignment.strategy": o.get("assignor", "range"),
    }
    if "instance" in o:
        config["group.instance.id"] = o["instance"]
    leaving = []
    signal.signal(signal.SIGTERM, lambda *_: leaving.append(True))
    c = Consumer(config)
    told = {f"on_{e}": lambda _, ps, e=e: say(e.replace("assign", "assigned").replace("revoke", "revoked"), [p.partition for p in ps])
            for e in ("assign", "revoke", "lost")}  # fmt: skip
    c.subscribe([o["topic"]], **told)
    with open(o["out"], "wb") as out:
        while not leaving:
            some = [m for m in c.consume(1000, 0.2) if not m.error()]
            for m in some:
                out.write(b"%d\t%d\t%s\t%s\n" % (m.partition(), m.offset(), m.key() or b"", m.value() or b""))
            out.flush()
            if some:
                try:
                    c.commit(asynchronous=False)
                except KafkaException as error:  # read again: the tests allow repetition
                    print("not committed:", error, file=sys.stderr)
    c.close()


if __name__ == "__main__":
    command, o = options()
    {"produce": produce, "pump": pump, "consume": consume, "member": member}[command](o)
