"""confluent-kafka (librdkafka) behind the commands that tests/harness/clients.py describes."""

import json
import signal
import sys
import time

from common import options, records, say, show
from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaException, Producer, TopicPartition
from history import History, triples


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


#: A server that comes back is found at once.
IMPATIENT = {"reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200, "retry.backoff.ms": 50, "log_level": 3}


def until_told_to_stop() -> list:
    """A list that is no longer empty once SIGTERM came."""
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    return told


def write(o):
    h, label, rate, partitions = History(o["history"], o["process"]), o["label"], float(o["rate"]), int(o["partitions"])
    stop = until_told_to_stop()
    p = Producer({
        "bootstrap.servers": o["bootstrap"], "enable.idempotence": True, "linger.ms": 2, "delivery.timeout.ms": 600_000,
        "queue.buffering.max.messages": 2000, **IMPATIENT,
    })  # fmt: skip
    acked, failed = 0, []

    def told(op, error, message):
        nonlocal acked
        if error is not None:
            failed.append(error)
            h.add("info", op=op, text=str(error))
            return
        h.add("sent", op=op, **({"offset": message.offset()} if message.offset() >= 0 else {}))
        acked += 1
        if acked % 50 == 0:
            say("acked", [acked])

    began, number = time.monotonic(), 0
    while not stop and not failed:
        if number > rate * (time.monotonic() - began) or len(p) >= 2000:
            p.poll(0.005)
            continue
        number += 1
        value, partition = f"{o['process']}-{number}", number % partitions
        op = h.begin("send", topic=label, partition=partition, value=value, idempotent=True)
        p.produce(o["topic"], value, partition=partition, on_delivery=lambda e, m, op=op: told(op, e, m))
        p.poll(0)
    p.flush()
    h.close()
    if failed:
        sys.exit(f"{len(failed)} records failed, the first with {failed[0]}")


def polled(h, label, messages):
    """Writes down what came; an error that is more than an outage ends the program."""
    for m in messages:
        if m.error() and not m.error().retriable() and m.error().code() >= 0:
            raise KafkaException(m.error())
    got = [[label, m.partition(), m.offset(), m.value().decode()] for m in messages if not m.error()]
    if got:
        h.add("polled", records=got)
    return [m for m in messages if not m.error()]


def tail(o):
    """Reads all partitions from their start; full: to their end. Told to stop, it goes on to the end that there is then."""
    h, label, full = History(o["history"], o["process"]), o["label"], "full" in o
    stop = until_told_to_stop()
    c = Consumer({
        "bootstrap.servers": o["bootstrap"], "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error",
        "fetch.wait.max.ms": 100, **IMPATIENT,
    })  # fmt: skip
    partitions = range(int(o["partitions"]))
    ends = None
    next_ = dict.fromkeys(partitions, 0)
    h.add("assigned", logs=triples(label, next_.items()))
    c.assign([TopicPartition(o["topic"], p, 0) for p in partitions])
    if full:
        for p in partitions:
            h.add("full_read_begun", topic=label, partition=p)
    while ends is None or any(next_[p] < end for p, end in ends.items()):
        if ends is None and (full or stop):
            ends = {p: c.get_watermark_offsets(TopicPartition(o["topic"], p), timeout=60)[1] for p in partitions}
        for m in polled(h, label, c.consume(1000, 0.1)):
            next_[m.partition()] = m.offset() + 1
    if full:
        for p in partitions:
            h.add("full_read_ended", topic=label, partition=p)
    c.close()
    h.close()


def group(o):
    """A member of a group that commits what it read."""
    h, label = History(o["history"], o["process"]), o["label"]
    stop = until_told_to_stop()
    c = Consumer({
        "bootstrap.servers": o["bootstrap"], "group.id": o["group"], "enable.auto.commit": False, "auto.offset.reset": "earliest",
        "session.timeout.ms": 10_000, "heartbeat.interval.ms": 500, "fetch.wait.max.ms": 100, **IMPATIENT,
    })  # fmt: skip

    def assigned(_, logs):
        h.add("rebalanced", assigned=triples(label, [(p.partition, None) for p in logs]))

    def revoked(_, logs):
        h.add("rebalanced", revoked=[[label, p.partition] for p in logs])

    h.add("subscribed")
    c.subscribe([o["topic"]], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    while not stop:
        next_ = {m.partition(): m.offset() + 1 for m in polled(h, label, c.consume(1000, 0.1))}
        if not next_:
            continue
        op = h.begin("commit", group=o["group"], offsets=triples(label, next_.items()))
        try:
            answers = c.commit(offsets=[TopicPartition(o["topic"], p, offset) for p, offset in next_.items()], asynchronous=False)
            h.add("info" if any(a.error for a in answers) else "committed", op=op)
        except KafkaException as error:
            h.add("info", op=op, text=str(error))
    c.close()
    h.close()


if __name__ == "__main__":
    command, o = options()
    {"produce": produce, "pump": pump, "consume": consume, "member": member, "write": write, "tail": tail, "group": group}[command](o)
