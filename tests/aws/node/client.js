// The AWS SDK for JavaScript v3, over HTTP/2 as it comes, behind the calls that tests/harness/kinesis.py describes.
'use strict'
const readline = require('node:readline')
const {
  KinesisClient, AddTagsToStreamCommand, CreateStreamCommand, DeleteStreamCommand, DescribeStreamSummaryCommand, GetRecordsCommand,
  GetShardIteratorCommand, IncreaseStreamRetentionPeriodCommand, ListShardsCommand, ListTagsForStreamCommand, PutRecordCommand,
  PutRecordsCommand, RegisterStreamConsumerCommand, SubscribeToShardCommand, waitUntilStreamExists,
} = require('@aws-sdk/client-kinesis')

const [endpoint, region] = process.argv.slice(2)
const client = new KinesisClient({ endpoint, region, credentials: { accessKeyId: 'key', secretAccessKey: 'secret' } })

const say = (what) => process.stdout.write(JSON.stringify(what) + '\n')
const entry = (r) => ({ PartitionKey: r.key, Data: Buffer.from(r.data, 'base64'), ExplicitHashKey: r.hash })
const stored = (r) => ({ shard: r.ShardId, sequence: r.SequenceNumber })
const instant = (c) => (c.timestamp_ms === undefined ? undefined : new Date(c.timestamp_ms))
const shown = (r) => ({
  sequence: r.SequenceNumber,
  key: r.PartitionKey,
  data: Buffer.from(r.Data).toString('base64'),
  arrived_ms: r.ApproximateArrivalTimestamp.getTime(),
})

const calls = {
  async create(c) {
    await client.send(new CreateStreamCommand({ StreamName: c.stream, ShardCount: c.shards }))
    const waited = await waitUntilStreamExists({ client, maxWaitTime: 60 }, { StreamName: c.stream })
    if (waited.state !== 'SUCCESS') throw new Error(waited.state)
    const now = await client.send(new DescribeStreamSummaryCommand({ StreamName: c.stream }))
    return { arn: now.StreamDescriptionSummary.StreamARN }
  },
  async delete(c) {
    await client.send(new DeleteStreamCommand({ StreamName: c.stream, EnforceConsumerDeletion: true }))
    return {}
  },
  async put(c) {
    return stored(await client.send(new PutRecordCommand({ StreamName: c.stream, ...entry(c) })))
  },
  async put_many(c) {
    const done = await client.send(new PutRecordsCommand({ StreamName: c.stream, Records: c.records.map(entry) }))
    return { failed: done.FailedRecordCount, records: done.Records.map(stored) }
  },
  async shards(c) {
    const all = []
    let page
    do {
      const what = page ? { NextToken: page.NextToken } : { StreamName: c.stream }
      page = await client.send(new ListShardsCommand({ ...what, MaxResults: 2 }))
      all.push(...page.Shards)
    } while (page.NextToken)
    return { shards: all.map((s) => ({ id: s.ShardId, first: s.HashKeyRange.StartingHashKey, last: s.HashKeyRange.EndingHashKey })) }
  },
  async read(c) {
    const from = await client.send(new GetShardIteratorCommand({
      StreamName: c.stream, ShardId: c.shard, ShardIteratorType: c.type, StartingSequenceNumber: c.sequence, Timestamp: instant(c),
    }))
    const records = []
    for (let next = from.ShardIterator; ;) {
      const page = await client.send(new GetRecordsCommand({ ShardIterator: next, Limit: 30 }))
      records.push(...page.Records.map(shown))
      if (page.MillisBehindLatest === 0) return { records }
      next = page.NextShardIterator
    }
  },
  async retain(c) {
    await client.send(new IncreaseStreamRetentionPeriodCommand({ StreamName: c.stream, RetentionPeriodHours: c.hours }))
    const now = await client.send(new DescribeStreamSummaryCommand({ StreamName: c.stream }))
    return { hours: now.StreamDescriptionSummary.RetentionPeriodHours }
  },
  async tag(c) {
    await client.send(new AddTagsToStreamCommand({ StreamName: c.stream, Tags: c.tags }))
    const now = await client.send(new ListTagsForStreamCommand({ StreamName: c.stream }))
    return { tags: Object.fromEntries(now.Tags.map((t) => [t.Key, t.Value])) }
  },
  async register(c) {
    const done = await client.send(new RegisterStreamConsumerCommand({ StreamARN: c.arn, ConsumerName: c.consumer }))
    return { arn: done.Consumer.ConsumerARN }
  },
  async subscribe(c) {
    const done = await client.send(new SubscribeToShardCommand({
      ConsumerARN: c.arn, ShardId: c.shard, StartingPosition: { Type: c.type, SequenceNumber: c.sequence, Timestamp: instant(c) },
    }))
    say({ subscribed: true })
    const records = []
    for await (const { SubscribeToShardEvent: event } of done.EventStream) {
      if (!event) continue
      records.push(...event.Records.map(shown))
      if (records.length >= c.count) return { records, continuation: event.ContinuationSequenceNumber }
    }
    throw new Error('the subscription ended')
  },
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const call = JSON.parse(line)
    try {
      say(await calls[call.do](call))
    } catch (error) {
      say({ error: error.name, message: error.message })
    }
  }
  process.exit(0) // a session of HTTP/2 would keep it
}

main()
