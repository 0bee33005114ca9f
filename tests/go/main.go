// The franz-go client behind the commands that tests/harness/clients.py describes.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type line struct {
	Key       *string     `json:"key"`
	Value     *string     `json:"value"`
	Headers   [][2]string `json:"headers"`
	Timestamp *int64      `json:"timestamp"`
	Partition *int32      `json:"partition"`
}

type shown struct {
	Partition int32       `json:"partition"`
	Offset    int64       `json:"offset"`
	Key       *string     `json:"key"`
	Value     *string     `json:"value"`
	Headers   [][2]string `json:"headers"`
	Timestamp int64       `json:"timestamp"`
}

var commands = map[string]func(map[string]string) error{
	"produce": produce, "consume": consume, "pump": pump, "member": member,
	"write": historyWrite, "tail": historyTail, "group": historyGroup,
}

func main() {
	log.SetFlags(0)
	options := map[string]string{}
	for i := 2; i+1 < len(os.Args); i += 2 {
		options[strings.TrimPrefix(os.Args[i], "--")] = os.Args[i+1]
	}
	if err := commands[os.Args[1]](options); err != nil {
		log.Fatal(err)
	}
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func newClient(options map[string]string, more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(options["bootstrap"]),
		kgo.DefaultProduceTopic(options["topic"]),
		kgo.AllowAutoTopicCreation(),
	}, more...)...)
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

var acks = map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}

func newProducer(options map[string]string, more ...kgo.Opt) (*kgo.Client, error) {
	opts := append([]kgo.Opt{
		kgo.ProducerBatchCompression(codecs[or(options["compression"], "none")]),
		kgo.RequiredAcks(acks[or(options["acks"], "all")]),
		kgo.ProducerBatchMaxBytes(50_000_000),
		kgo.BrokerMaxWriteBytes(100_000_000),
		kgo.ProducerLinger(5 * time.Millisecond),
	}, more...)
	if options["timeout-ms"] != "" { // counted from the record's own timestamp: one of 1970 is late at once
		timeout, err := strconv.Atoi(options["timeout-ms"])
		if err != nil {
			return nil, err
		}
		opts = append(opts, kgo.RecordDeliveryTimeout(time.Duration(timeout)*time.Millisecond))
	}
	if options["idempotent"] != "true" {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	return newClient(options, opts...)
}

// ByAskedPartition is murmur2 over the key, but a record that names a partition (>= 0) goes there.
func byAskedPartition() kgo.Partitioner {
	hashed := kgo.StickyKeyPartitioner(nil)
	return kgo.BasicConsistentPartitioner(func(topic string) func(*kgo.Record, int) int {
		byHash := hashed.ForTopic(topic)
		return func(r *kgo.Record, n int) int {
			if r.Partition >= 0 {
				return int(r.Partition)
			}
			return byHash.Partition(r, n)
		}
	})
}

func produce(options map[string]string) error {
	client, err := newProducer(options, kgo.RecordPartitioner(byAskedPartition()))
	if err != nil {
		return err
	}
	defer client.Close()
	type answer struct {
		Partition *int32 `json:"partition,omitempty"`
		Offset    *int64 `json:"offset,omitempty"`
		Error     *int16 `json:"error,omitempty"`
		Message   string `json:"message,omitempty"`
	}
	var answers []*answer
	in := bufio.NewReader(os.Stdin)
	decoder := json.NewDecoder(in)
	for decoder.More() {
		var l line
		if err := decoder.Decode(&l); err != nil {
			return err
		}
		record := &kgo.Record{Partition: -1}
		if l.Key != nil {
			record.Key = []byte(*l.Key)
		}
		if l.Value != nil {
			record.Value = []byte(*l.Value)
		}
		if l.Partition != nil {
			record.Partition = *l.Partition
		}
		if l.Timestamp != nil {
			record.Timestamp = time.UnixMilli(*l.Timestamp)
		}
		for _, h := range l.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
		}
		a := &answer{}
		answers = append(answers, a)
		client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
			if err == nil {
				a.Partition, a.Offset = &r.Partition, &r.Offset
				return
			}
			code := int16(-1)
			var known *kerr.Error
			if errors.As(err, &known) {
				code = known.Code
			}
			a.Error, a.Message = &code, err.Error()
		})
	}
	if err := client.Flush(context.Background()); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for _, a := range answers {
		if err := out.Encode(a); err != nil {
			return err
		}
	}
	return nil
}

func text(bytes []byte) *string {
	if bytes == nil {
		return nil
	}
	s := string(bytes)
	return &s
}

func consume(options map[string]string) error {
	wanted, err := strconv.Atoi(options["count"])
	if err != nil {
		return err
	}
	isolation := kgo.ReadUncommitted()
	if options["isolation"] == "read_committed" {
		isolation = kgo.ReadCommitted()
	}
	client, err := newClient(options, kgo.ConsumeTopics(options["topic"]), kgo.FetchIsolationLevel(isolation))
	if err != nil {
		return err
	}
	defer client.Close()
	out := json.NewEncoder(os.Stdout)
	for seen := 0; seen < wanted; {
		for _, r := range client.PollFetches(context.Background()).Records() {
			headers := [][2]string{}
			for _, h := range r.Headers {
				headers = append(headers, [2]string{h.Key, string(h.Value)})
			}
			err := out.Encode(shown{r.Partition, r.Offset, text(r.Key), text(r.Value), headers, r.Timestamp.UnixMilli()})
			if err != nil {
				return err
			}
			seen++
		}
	}
	return nil
}

func pump(options map[string]string) error {
	client, err := newProducer(options)
	if err != nil {
		return err
	}
	file, err := os.Open(options["file"])
	if err != nil {
		return err
	}
	var sent, acked int64
	failed := make(chan error, 1)
	lines := bufio.NewScanner(file)
	for ; lines.Scan(); sent++ {
		key, value, _ := strings.Cut(lines.Text(), "\t")
		client.Produce(context.Background(), kgo.KeyStringRecord(key, value), func(_ *kgo.Record, err error) {
			if err == nil {
				atomic.AddInt64(&acked, 1)
				return
			}
			select {
			case failed <- err:
			default:
			}
		})
	}
	if err := errors.Join(lines.Err(), client.Flush(context.Background())); err != nil {
		return err
	}
	client.Close()
	select {
	case err := <-failed:
		return err
	default:
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]int64{"sent": sent, "acked": acked})
}

func say(what string) func(context.Context, *kgo.Client, map[string][]int32) {
	return func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
		var partitions []int32
		for _, some := range topics {
			partitions = append(partitions, some...)
		}
		slices.Sort(partitions)
		fmt.Println(what, strings.ReplaceAll(strings.Trim(fmt.Sprint(partitions), "[]"), " ", ","))
	}
}

func member(options map[string]string) error {
	session, err := strconv.Atoi(or(options["session-ms"], "6000"))
	if err != nil {
		return err
	}
	balancer := kgo.RangeBalancer()
	if options["assignor"] == "cooperative-sticky" {
		balancer = kgo.CooperativeStickyBalancer()
	}
	opts := []kgo.Opt{
		kgo.ConsumeTopics(options["topic"]), kgo.ConsumerGroup(options["group"]), kgo.Balancers(balancer),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(time.Duration(session) * time.Millisecond), kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.OnPartitionsAssigned(say("assigned")), kgo.OnPartitionsRevoked(say("revoked")), kgo.OnPartitionsLost(say("lost")),
	}
	if options["instance"] != "" {
		opts = append(opts, kgo.InstanceID(options["instance"]))
	}
	client, err := newClient(options, opts...)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	file, err := os.Create(options["out"])
	if err != nil {
		return err
	}
	out := bufio.NewWriter(file)
	for ctx.Err() == nil {
		records := client.PollFetches(ctx).Records()
		for _, r := range records {
			fmt.Fprintf(out, "%d\t%d\t%s\t%s\n", r.Partition, r.Offset, r.Key, r.Value)
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if len(records) > 0 {
			if err := client.CommitRecords(context.Background(), records...); err != nil {
				log.Print("not committed: ", err) // read again: the tests allow repetition
			}
		}
		client.AllowRebalance()
	}
	client.CloseAllowingRebalance()
	return nil
}
