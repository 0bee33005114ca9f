"""async-kinesis: a producer that batches and a consumer that follows all shards.

    async_kinesis.py produce ENDPOINT REGION STREAM          lines of stdin; makes the stream, of two shards, where there is none
    async_kinesis.py consume ENDPOINT REGION STREAM COUNT    prints as many, from the beginning
"""

import asyncio
import os
import sys

from kinesis import Consumer, Producer, StringProcessor

COMMAND, ENDPOINT, REGION, STREAM, *REST = sys.argv[1:]
HOW = {"endpoint_url": ENDPOINT, "region_name": REGION, "processor": StringProcessor(), "create_stream": True, "create_stream_shards": 2}


async def produce():
    async with Producer(stream_name=STREAM, **HOW) as producer:
        for line in sys.stdin.read().splitlines():
            await producer.put(line)
        await producer.flush()


async def consume():
    seen = 0
    async with Consumer(stream_name=STREAM, use_list_shards=True, sleep_time_no_records=0.1, **HOW) as consumer:
        while seen < int(REST[0]):
            async for line in consumer:
                print(line, flush=True)
                seen += 1


os.environ.update(AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret")
asyncio.run(produce() if COMMAND == "produce" else consume())
