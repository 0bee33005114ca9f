// Histories (docs/history.md): what this client did and saw, for `millrace history check`.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// One process's file. Its lines are in the order of their times, whichever goroutine writes them.
type history struct {
	process, label string
	mutex          sync.Mutex
	out            *bufio.Writer
	file           *os.File
	ops            int64
	failed         error
}

type fields map[string]any

func newHistory(options map[string]string) (*history, error) {
	file, err := os.OpenFile(options["history"], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return &history{process: options["process"], label: options["label"], out: bufio.NewWriter(file), file: file}, nil
}

// Go's own monotonic clock has a zero of its own; all files of a history need one clock.
func monotonic() int64 {
	var now syscall.Timespec
	const clockMonotonic = 1
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0)
	return now.Nano()
}

func (h *history) add(event string, more fields) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	line := fields{"time": monotonic(), "process": h.process, "event": event}
	for name, value := range more {
		line[name] = value
	}
	text, err := json.Marshal(line)
	if err == nil {
		_, err = h.out.Write(append(text, '\n'))
	}
	h.failed = errors.Join(h.failed, err)
}

func (h *history) begin(event string, more fields) int64 {
	op := atomic.AddInt64(&h.ops, 1)
	more["op"] = op
	h.add(event, more)
	return op
}

func (h *history) close() error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return errors.Join(h.failed, h.out.Flush(), h.file.Close())
}

// Options of all clients here: a server that comes back is found at once.
func historyClient(options map[string]string, more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(options["bootstrap"]),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		kgo.RequestRetries(1 << 20), kgo.RetryTimeout(10 * time.Minute),
		kgo.MetadataMinAge(50 * time.Millisecond),
	}, more...)...)
}

func historyWrite(options map[string]string) error {
	partitions, err := strconv.Atoi(options["partitions"])
	if err != nil {
		return err
	}
	rate, err := strconv.ParseFloat(options["rate"], 64)
	if err != nil {
		return err
	}
	h, err := newHistory(options)
	if err != nil {
		return err
	}
	client, err := historyClient(options, kgo.DefaultProduceTopic(options["topic"]), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(2*time.Millisecond), kgo.MaxBufferedRecords(2000), kgo.RecordDeliveryTimeout(10*time.Minute))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var acked atomic.Int64
	var failed atomic.Pointer[error]
	began := time.Now()
	for number := 1; ctx.Err() == nil && failed.Load() == nil; number++ {
		due := began.Add(time.Duration(float64(number) / rate * float64(time.Second)))
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(due)):
		}
		value, partition := fmt.Sprintf("%s-%d", options["process"], number), number%partitions
		op := h.begin("send", fields{"topic": h.label, "partition": partition, "value": value, "idempotent": true})
		record := &kgo.Record{Value: []byte(value), Partition: int32(partition)}
		client.Produce(context.Background(), record, func(r *kgo.Record, err error) {
			if err != nil {
				failed.CompareAndSwap(nil, &err)
				h.add("info", fields{"op": op, "text": err.Error()})
				return
			}
			h.add("sent", fields{"op": op, "offset": r.Offset})
			if n := acked.Add(1); n%50 == 0 {
				fmt.Println("acked", n)
			}
		})
	}
	if err := errors.Join(client.Flush(context.Background()), h.close()); err != nil {
		return err
	}
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Writes down what came; an error that is more than an outage ends the program.
func (h *history) polled(fetches kgo.Fetches, next map[int32]int64) error {
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.DeadlineExceeded) || errors.Is(e.Err, context.Canceled) {
			continue
		}
		if known := new(kerr.Error); errors.As(e.Err, &known) && !known.Retriable {
			return e.Err
		}
		if lost := new(kgo.ErrDataLoss); errors.As(e.Err, &lost) {
			return e.Err
		}
	}
	var records [][]any
	fetches.EachRecord(func(r *kgo.Record) {
		records = append(records, []any{h.label, r.Partition, r.Offset, string(r.Value)})
		next[r.Partition] = r.Offset + 1
	})
	if records != nil {
		h.add("polled", fields{"records": records})
	}
	return nil
}

func historyTail(options map[string]string) error {
	partitions, err := strconv.Atoi(options["partitions"])
	if err != nil {
		return err
	}
	h, err := newHistory(options)
	if err != nil {
		return err
	}
	_, full := options["full"]
	logs, from, next := []any{}, map[int32]kgo.Offset{}, map[int32]int64{}
	for p := range int32(partitions) {
		logs, from[p], next[p] = append(logs, []any{h.label, p, 0}), kgo.NewOffset().At(0), 0
	}
	h.add("assigned", fields{"logs": logs})
	for p := range partitions {
		if full {
			h.add("full_read_begun", fields{"topic": h.label, "partition": p})
		}
	}
	client, err := historyClient(options, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{options["topic"]: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchMaxWait(100*time.Millisecond))
	if err != nil {
		return err
	}
	defer client.Close()
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var ends map[int32]int64
	for ends == nil || !reached(next, ends) {
		if ends == nil && (full || told.Err() != nil) {
			if ends, err = endOffsets(client, options["topic"], next); err != nil {
				return err
			}
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		err := h.polled(client.PollFetches(ctx), next)
		cancel()
		if err != nil {
			return err
		}
	}
	for p := range partitions {
		if full {
			h.add("full_read_ended", fields{"topic": h.label, "partition": p})
		}
	}
	return h.close()
}

func endOffsets(client *kgo.Client, topic string, partitions map[int32]int64) (map[int32]int64, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	for p := range partitions {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp, partition.CurrentLeaderEpoch = p, -1, -1
		asked.Partitions = append(asked.Partitions, partition)
	}
	request.Topics = append(request.Topics, asked)
	response, err := request.RequestWith(context.Background(), client)
	if err != nil {
		return nil, err
	}
	ends := map[int32]int64{}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, err
			}
			ends[p.Partition] = p.Offset
		}
	}
	return ends, nil
}

func reached(next, ends map[int32]int64) bool {
	for p, end := range ends {
		if next[p] < end {
			return false
		}
	}
	return true
}

func historyGroup(options map[string]string) error {
	h, err := newHistory(options)
	if err != nil {
		return err
	}
	topic := options["topic"]
	assigned := func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
		logs := []any{}
		for _, p := range topics[topic] {
			logs = append(logs, []any{h.label, p, nil})
		}
		h.add("rebalanced", fields{"assigned": logs})
	}
	revoked := func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
		logs := []any{}
		for _, p := range topics[topic] {
			logs = append(logs, []any{h.label, p})
		}
		h.add("rebalanced", fields{"revoked": logs})
	}
	h.add("subscribed", nil)
	client, err := historyClient(options, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(options["group"]), kgo.Balancers(kgo.RangeBalancer()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.OnPartitionsAssigned(assigned), kgo.OnPartitionsRevoked(revoked), kgo.OnPartitionsLost(revoked))
	if err != nil {
		return err
	}
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	for told.Err() == nil {
		next := map[int32]int64{}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		err := h.polled(client.PollFetches(ctx), next)
		cancel()
		if err != nil {
			return err
		}
		if len(next) > 0 {
			h.commit(client, options["group"], topic, next)
		}
		client.AllowRebalance()
	}
	client.CloseAllowingRebalance()
	return h.close()
}

func (h *history) commit(client *kgo.Client, group, topic string, next map[int32]int64) {
	offsets, logs := map[int32]kgo.EpochOffset{}, []any{}
	for p, offset := range next {
		offsets[p] = kgo.EpochOffset{Epoch: -1, Offset: offset}
		logs = append(logs, []any{h.label, p, offset})
	}
	op := h.begin("commit", fields{"group": group, "offsets": logs})
	outcome := "committed"
	// A rebalance waits for this: a commit that outlives its session can't succeed.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{topic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
			if err != nil {
				outcome = "info"
				return
			}
			for _, t := range response.Topics {
				for _, p := range t.Partitions {
					if p.ErrorCode != 0 {
						outcome = "info"
					}
				}
			}
		})
	h.add(outcome, fields{"op": op})
}
