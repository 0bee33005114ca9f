"""aiokafka behind the commands that tests/harness/clients.py describes (all but `pump`)."""

import asyncio
import json
import signal
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import KafkaError
from common import consumer_options, member_options, options, producer_options, records, say, show


async def produce(o):
    producer = AIOKafkaProducer(
        **producer_options(o),
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
        **consumer_options(o),
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
        **member_options(o),
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
