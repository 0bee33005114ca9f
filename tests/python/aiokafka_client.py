"""aiokafka behind the commands that tests/harness/clients.py describes (all but `pump`)."""

import asyncio
import json
import signal
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from common import options, records, say, show


async def produce(o):
    compression = o.get("compression", "none")
    producer = AIOKafkaProducer(
        bootstrap_servers=o["bootstrap"],
        acks={"0": 0, "1": 1, "all": "all"}[o.get("acks", "all")],
        enable_idempotence=o.get("idempotent") == "true",
        compression_type=None if compression == "none" else compression,
        max_request_size=50_000_000,
        request_timeout_ms=int(o.get("timeout-ms", "30000")),
    )
    await producer.start()
    sent = [
        await producer.send(
            o["topic"], r["value"], r["key"], headers=r["headers"], partition=r["partition"], timestamp_ms=r["timestamp"]
        )
        for r in records()
    ]
    for answer in await asyncio.gather(*sent, return_exceptions=True):
        if isinstance(answer, KafkaError):
            print(json.dumps({"error": answer.errno, "message": str(answer)}))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            print(json.dumps({"partition": answer.partition, "offset": answer.offset} if answer else {"offset": -1}))
    await producer.stop()


async def consume(o):
    consumer = AIOKafkaConsumer(
        o["topic"],
        bootstrap_servers=o["bootstrap"],
        auto_offset_reset="earliest",
        isolation_level=o.get("isolation", "read_uncommitted"),
        max_partition_fetch_bytes=50_000_000,
    )
    await consumer.start()
    for _ in range(int(o["count"])):
        m = await consumer.getone()
        show(m.partition, m.offset, m.key, m.value, m.headers, m.timestamp)
    await consumer.stop()


class Told(ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked):
        say("revoked", [p.partition for p in revoked])

    def on_partitions_assigned(self, assigned):
        say("assigned", [p.partition for p in assigned])


async def member(o):
    consumer = AIOKafkaConsumer(
        bootstrap_servers=o["bootstrap"],
        group_id=o["group"],
        group_instance_id=o.get("instance"),
        session_timeout_ms=int(o.get("session-ms", "6000")),
        heartbeat_interval_ms=500,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        partition_assignment_strategy=(RangePartitionAssignor,),
    )
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    await consumer.start()
    consumer.subscribe([o["topic"]], listener=Told())
    with open(o["out"], "wb") as out:
        while not leaving.is_set():
            batches = await consumer.getmany(timeout_ms=200)
            for records in batches.values():
                for m in records:
                    out.write(b"%d\t%d\t%s\t%s\n" % (m.partition, m.offset, m.key or b"", m.value or b""))
            out.flush()
            if batches:
                try:
                    await consumer.commit({TopicPartition(t, p): ms[-1].offset + 1 for (t, p), ms in batches.items()})
                except KafkaError as error:  # read again: the tests allow repetition
                    print("not committed:", error, file=sys.stderr)
    await consumer.stop()


if __name__ == "__main__":
    command, o = options()
    asyncio.run({"produce": produce, "consume": consume, "member": member}[command](o))
