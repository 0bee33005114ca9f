// The AWS SDK for Go v2 behind the calls that tests/harness/kinesis.py describes.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/smithy-go"
)

type call struct {
	Do, Stream, Shard, Type, Sequence, Arn, Consumer string
	Shards, Hours, Count                             int32
	TimestampMs                                      *int64 `json:"timestamp_ms"`
	Tags                                             map[string]string
	Records                                          []put
	put
}

type put struct {
	Key  string
	Data []byte // encoding/json reads base64
	Hash *string
}

type stored struct {
	Shard    string `json:"shard"`
	Sequence string `json:"sequence"`
}

type record struct {
	Sequence  string `json:"sequence"`
	Key       string `json:"key"`
	Data      []byte `json:"data"`
	ArrivedMs int64  `json:"arrived_ms"`
}

type answer = map[string]any

var (
	ctx    = context.Background()
	client *kinesis.Client
	out    = json.NewEncoder(os.Stdout)
)

var calls = map[string]func(call) (answer, error){
	"create": create, "delete": remove, "put": putOne, "put_many": putMany, "shards": shards, "read": read,
	"retain": retain, "tag": tag, "register": register, "subscribe": subscribe,
}

// plainBodies sends requests whose bodies can be read and nothing else. The SDK closes a body as soon as the answer
// begins; net/http may ask it once more whether that was all, by WriteTo, which of a closed body says io.EOF (smithy-go
// 1.28.8, safeWriteToReadCloser): a failure, upon which net/http closes the connection under the answer. Read says the
// same and means the end.
type plainBodies struct{ *awshttp.BuildableClient }

func (c plainBodies) Do(request *http.Request) (*http.Response, error) {
	if request.Body != nil {
		request.Body = struct{ io.ReadCloser }{request.Body}
	}
	return c.BuildableClient.Do(request)
}

func main() {
	client = kinesis.New(kinesis.Options{
		HTTPClient:   plainBodies{awshttp.NewBuildableClient()},
		BaseEndpoint: aws.String(os.Args[1]),
		Region:       os.Args[2],
		Credentials:  credentials.NewStaticCredentialsProvider("key", "secret", ""),
	})
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var c call
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			log.Fatal(err)
		}
		said, err := calls[c.Do](c)
		if err != nil {
			said = answer{"error": fmt.Sprintf("%T", err), "message": err.Error()}
			var api smithy.APIError
			if errors.As(err, &api) {
				said = answer{"error": api.ErrorCode(), "message": api.ErrorMessage()}
			}
		}
		if err := out.Encode(said); err != nil {
			log.Fatal(err)
		}
	}
}

func create(c call) (answer, error) {
	if _, err := client.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: &c.Stream, ShardCount: &c.Shards}); err != nil {
		return nil, err
	}
	which := &kinesis.DescribeStreamInput{StreamName: &c.Stream}
	described, err := kinesis.NewStreamExistsWaiter(client).WaitForOutput(ctx, which, time.Minute)
	if err != nil {
		return nil, err
	}
	return answer{"arn": *described.StreamDescription.StreamARN}, nil
}

func remove(c call) (answer, error) {
	_, err := client.DeleteStream(ctx, &kinesis.DeleteStreamInput{StreamName: &c.Stream, EnforceConsumerDeletion: aws.Bool(true)})
	return answer{}, err
}

func putOne(c call) (answer, error) {
	done, err := client.PutRecord(ctx, &kinesis.PutRecordInput{
		StreamName: &c.Stream, PartitionKey: &c.Key, Data: c.Data, ExplicitHashKey: c.Hash,
	})
	if err != nil {
		return nil, err
	}
	return answer{"shard": *done.ShardId, "sequence": *done.SequenceNumber}, nil
}

func putMany(c call) (answer, error) {
	var entries []types.PutRecordsRequestEntry
	for _, r := range c.Records {
		entries = append(entries, types.PutRecordsRequestEntry{PartitionKey: &r.Key, Data: r.Data, ExplicitHashKey: r.Hash})
	}
	done, err := client.PutRecords(ctx, &kinesis.PutRecordsInput{StreamName: &c.Stream, Records: entries})
	if err != nil {
		return nil, err
	}
	var all []stored
	for _, r := range done.Records {
		all = append(all, stored{*r.ShardId, *r.SequenceNumber})
	}
	return answer{"failed": *done.FailedRecordCount, "records": all}, nil
}

func shards(c call) (answer, error) {
	var all []answer
	page, err := client.ListShards(ctx, &kinesis.ListShardsInput{StreamName: &c.Stream, MaxResults: aws.Int32(2)})
	for err == nil {
		for _, s := range page.Shards {
			all = append(all, answer{"id": *s.ShardId, "first": *s.HashKeyRange.StartingHashKey, "last": *s.HashKeyRange.EndingHashKey})
		}
		if page.NextToken == nil {
			return answer{"shards": all}, nil
		}
		page, err = client.ListShards(ctx, &kinesis.ListShardsInput{NextToken: page.NextToken, MaxResults: aws.Int32(2)})
	}
	return nil, err
}

func instant(c call) *time.Time {
	if c.TimestampMs == nil {
		return nil
	}
	return aws.Time(time.UnixMilli(*c.TimestampMs))
}

func number(c call) *string {
	if c.Sequence == "" {
		return nil
	}
	return &c.Sequence
}

func shown(r types.Record) record {
	return record{*r.SequenceNumber, *r.PartitionKey, r.Data, r.ApproximateArrivalTimestamp.UnixMilli()}
}

func read(c call) (answer, error) {
	from, err := client.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
		StreamName: &c.Stream, ShardId: &c.Shard, ShardIteratorType: types.ShardIteratorType(c.Type),
		StartingSequenceNumber: number(c), Timestamp: instant(c),
	})
	if err != nil {
		return nil, err
	}
	found := []record{}
	for next := from.ShardIterator; ; {
		page, err := client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: next, Limit: aws.Int32(30)})
		if err != nil {
			return nil, err
		}
		for _, r := range page.Records {
			found = append(found, shown(r))
		}
		if *page.MillisBehindLatest == 0 {
			return answer{"records": found}, nil
		}
		next = page.NextShardIterator
	}
}

func retain(c call) (answer, error) {
	_, err := client.IncreaseStreamRetentionPeriod(ctx, &kinesis.IncreaseStreamRetentionPeriodInput{
		StreamName: &c.Stream, RetentionPeriodHours: &c.Hours,
	})
	if err != nil {
		return nil, err
	}
	now, err := client.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &c.Stream})
	if err != nil {
		return nil, err
	}
	return answer{"hours": *now.StreamDescriptionSummary.RetentionPeriodHours}, nil
}

func tag(c call) (answer, error) {
	if _, err := client.AddTagsToStream(ctx, &kinesis.AddTagsToStreamInput{StreamName: &c.Stream, Tags: c.Tags}); err != nil {
		return nil, err
	}
	now, err := client.ListTagsForStream(ctx, &kinesis.ListTagsForStreamInput{StreamName: &c.Stream})
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, t := range now.Tags {
		all[*t.Key] = *t.Value
	}
	return answer{"tags": all}, nil
}

func register(c call) (answer, error) {
	done, err := client.RegisterStreamConsumer(ctx, &kinesis.RegisterStreamConsumerInput{StreamARN: &c.Arn, ConsumerName: &c.Consumer})
	if err != nil {
		return nil, err
	}
	return answer{"arn": *done.Consumer.ConsumerARN}, nil
}

func subscribe(c call) (answer, error) {
	done, err := client.SubscribeToShard(ctx, &kinesis.SubscribeToShardInput{
		ConsumerARN: &c.Arn, ShardId: &c.Shard,
		StartingPosition: &types.StartingPosition{Type: types.ShardIteratorType(c.Type), SequenceNumber: number(c), Timestamp: instant(c)},
	})
	if err != nil {
		return nil, err
	}
	stream := done.GetStream()
	defer stream.Close()
	if err := out.Encode(answer{"subscribed": true}); err != nil {
		return nil, err
	}
	found := []record{}
	for event := range stream.Events() {
		pushed := event.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
		for _, r := range pushed.Records {
			found = append(found, shown(r))
		}
		if len(found) >= int(c.Count) {
			return answer{"records": found, "continuation": *pushed.ContinuationSequenceNumber}, nil
		}
	}
	return nil, errors.Join(errors.New("the subscription ended"), stream.Err())
}
