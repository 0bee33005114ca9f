// kafkajs behind the commands that tests/harness/clients.py describes (all but `pump`).
'use strict';

const fs = require('node:fs');
const readline = require('node:readline');
const { Kafka, CompressionCodecs, CompressionTypes, logLevel } = require('kafkajs');

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy');

const options = {};
for (let i = 3; i + 1 < process.argv.length; i += 2) options[process.argv[i].slice(2)] = process.argv[i + 1];

const kafka = new Kafka({
  brokers: [options.bootstrap],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 100, retries: options['timeout-ms'] ? 0 : 10 },
});
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const text = (bytes) => (bytes === null ? null : bytes.toString());

const compressions = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy };

async function produce() {
  const producer = kafka.producer({ idempotent: options.idempotent === 'true', allowAutoTopicCreation: true });
  await producer.connect();
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { key, value, headers, timestamp, partition } = JSON.parse(line);
    const message = { key, value, partition, timestamp: timestamp && String(timestamp) };
    message.headers = Object.fromEntries(headers ?? []);
    try {
      const [metadata] = await producer.send({
        topic: options.topic,
        acks: { all: -1, 1: 1, 0: 0 }[options.acks ?? 'all'],
        compression: compressions[options.compression ?? 'none'],
        messages: [message],
      });
      print({ partition: metadata?.partition ?? 0, offset: Number(metadata?.baseOffset ?? -1) });
    } catch (error) {
      print({ error: (error.cause ?? error).code ?? -1, message: error.message });
    }
  }
  await producer.disconnect();
}

const headerPairs = (headers) =>
  Object.entries(headers ?? {}).flatMap(([key, values]) => [values].flat().map((value) => [key, value.toString()]));

async function consume() {
  const consumer = kafka.consumer({
    groupId: `kafkajs-${process.pid}-${Date.now()}`,
    readUncommitted: options.isolation !== 'read_committed',
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [options.topic], fromBeginning: true });
  let left = Number(options.count);
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => payload.restart || reject(payload.error));
    consumer.run({
      eachMessage: async ({ partition, message: { offset, key, value, headers, timestamp } }) => {
        if (left-- <= 0) return;
        print({ partition, offset: Number(offset), key: text(key), value: text(value), headers: headerPairs(headers), timestamp: Number(timestamp) });
        if (left === 0) resolve();
      },
    });
  });
  await consumer.disconnect();
}

async function member() {
  const consumer = kafka.consumer({
    groupId: options.group,
    sessionTimeout: Number(options['session-ms'] ?? 6000),
    heartbeatInterval: 500,
    maxWaitTimeInMs: 500,
  });
  const out = fs.openSync(options.out, 'w');
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    process.stdout.write(`assigned ${(payload.memberAssignment[options.topic] ?? []).join(',')}\n`);
  });
  process.once('SIGTERM', () => consumer.disconnect().then(() => process.exit(0)));
  await consumer.connect();
  await consumer.subscribe({ topics: [options.topic], fromBeginning: true });
  await consumer.run({
    eachBatch: async ({ batch, resolveOffset, commitOffsetsIfNecessary, heartbeat }) => {
      for (const { offset, key, value } of batch.messages) {
        fs.writeSync(out, `${batch.partition}\t${offset}\t${key}\t${value}\n`);
        resolveOffset(offset);
      }
      await heartbeat();
      await commitOffsetsIfNecessary();
    },
  });
}

const commands = { produce, consume, member };
commands[process.argv[2]]().catch((error) => {
  console.error(error);
  process.exit(1);
});
