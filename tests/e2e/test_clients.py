"""What every client family does with records: all codecs, acks, headers, nulls, timestamps, large and refused messages."""

import pytest
from harness.clients import ALL_CODECS, FAMILIES

RECORDS = [
    {"key": "a", "value": "1", "partition": 0},
    {"key": None, "value": "no key", "partition": 0},
    {"key": "a", "value": None, "partition": 0},  # a tombstone
    {"key": "", "value": "", "partition": 0},
    {"key": "ünï", "value": "çødé", "partition": 0, "headers": [["trace", "1"], ["empty", ""]]},
    {"key": "t", "value": "old", "partition": 0, "timestamp": 1_600_000_000_123},
]


def fields(records, *names):
    return [tuple(r.get(n) for n in names) for r in records]


@pytest.mark.parametrize("codec", ALL_CODECS)
def test_what_is_produced_is_consumed(broker, client, name, codec):
    if codec not in client.codecs:
        pytest.skip(f"{client} has no {codec}")
    answers = client.produce(broker.bootstrap, name, RECORDS, compression=codec)
    assert fields(answers, "partition", "offset") == [(0, o) for o in range(len(RECORDS))]
    seen = client.consume(broker.bootstrap, name, len(RECORDS))
    assert fields(seen, "key", "value") == fields(RECORDS, "key", "value")
    assert fields(seen, "offset") == fields(answers, "offset")
    assert seen[4]["headers"] == [["trace", "1"], ["empty", ""]]
    assert seen[5]["timestamp"] == 1_600_000_000_123


@pytest.mark.parametrize("reader", FAMILIES)
def test_each_family_reads_what_another_wrote(broker, name, reader, family):
    """One topic with a batch of each family and codec, read whole by each family."""
    reader = family(reader)
    expected = set()
    for writer in FAMILIES.values():
        if not writer.available():
            continue
        codec = reader.codecs[len(expected) % len(reader.codecs)]
        codec = codec if codec in writer.codecs else "gzip"
        value = f"{writer} {codec} " + "x" * 200
        writer.produce(broker.bootstrap, name, [{"key": "k", "value": value, "partition": 0}], compression=codec)
        expected.add(value)
    assert {r["value"] for r in reader.consume(broker.bootstrap, name, len(expected))} == expected


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acks(broker, client, name, acks):
    records = [{"key": "k", "value": str(n), "partition": 0} for n in range(50)]
    client.produce(broker.bootstrap, name, records[:1])  # so that acks=0 meets a topic that exists
    client.produce(broker.bootstrap, name, records[1:], acks=acks)
    assert fields(client.consume(broker.bootstrap, name, 50), "value") == fields(records, "value")


def test_idempotent_producers_keep_order(broker, client, name):
    records = [{"key": f"k{n % 7}", "value": str(n)} for n in range(500)]
    answers = client.produce(broker.bootstrap, name, records, idempotent="true")
    assert all("error" not in a for a in answers), answers
    seen = client.consume(broker.bootstrap, name, 500)
    for key in {r["key"] for r in records}:
        assert [r["value"] for r in seen if r["key"] == key] == [r["value"] for r in records if r["key"] == key]


def test_read_committed_consumers_read_plain_records(broker, client, name):
    client.produce(broker.bootstrap, name, [{"value": str(n), "partition": 0} for n in range(20)])
    seen = client.consume(broker.bootstrap, name, 20, isolation="read_committed")
    assert [r["value"] for r in seen] == [str(n) for n in range(20)]


def test_repeated_headers_keep_their_order(broker, client, name):
    if not client.repeated_headers:
        pytest.skip(f"{client} keeps headers in a map")
    headers = [["h", "1"], ["other", "x"], ["h", "2"], ["h", ""]]
    client.produce(broker.bootstrap, name, [{"value": "v", "headers": headers, "partition": 0}])
    assert client.consume(broker.bootstrap, name, 1)[0]["headers"] == headers


def test_keys_go_where_murmur2_sends_them(broker, client, name, admin):
    """All families that hash with murmur2 agree, so that a key keeps its partition when a program changes language."""
    admin.create(name, partitions=12)
    keys = ["ATL", "ORD", "DFW", "LAX", "", "ключ", "x" * 100]
    answers = client.produce(broker.bootstrap, name, [{"key": k, "value": "v"} for k in keys])
    assert [a["partition"] for a in answers] == [murmur2(k.encode()) % 12 for k in keys]


def test_large_messages(broker, client, name, admin):
    admin.create(name, **{"max.message.bytes": 6_000_000})
    value = "0123456789abcdef" * (5_000_000 // 16)
    assert client.produce(broker.bootstrap, name, [{"key": "big", "value": value}])[0]["offset"] == 0
    assert client.consume(broker.bootstrap, name, 1)[0]["value"] == value


def test_a_message_over_the_limit_is_refused_and_others_are_not(broker, client, name, admin):
    admin.create(name, **{"max.message.bytes": 10_000})
    big, small = {"value": "x" * 20_000, "partition": 0}, {"value": "small", "partition": 0}
    refused = client.produce(broker.bootstrap, name, [big], timeout_ms=10_000)
    assert refused[0].get("error") == 10, f"not MESSAGE_TOO_LARGE: {refused}"
    assert client.produce(broker.bootstrap, name, [small])[0]["offset"] == 0
    assert client.consume(broker.bootstrap, name, 1)[0]["value"] == "small"


def test_log_append_time(broker, client, name, admin):
    admin.create(name, **{"message.timestamp.type": "LogAppendTime"})
    record = {"value": "v", "timestamp": 1_600_000_000_000}
    assert client.produce(broker.bootstrap, name, [record], compression="gzip")[0]["offset"] == 0
    assert client.consume(broker.bootstrap, name, 1)[0]["timestamp"] > 1_700_000_000_000


def test_a_timestamp_far_ahead_is_refused(broker, client, name, admin):
    admin.create(name)
    year_2100 = 4_102_444_800_000
    refused = client.produce(broker.bootstrap, name, [{"value": "v", "timestamp": year_2100}], timeout_ms=10_000)
    assert refused[0].get("error") == 32, f"not INVALID_TIMESTAMP: {refused}"


def murmur2(data: bytes) -> int:
    """The positive murmur2 hash of Kafka's default partitioner."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if tail := data[whole:]:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF
