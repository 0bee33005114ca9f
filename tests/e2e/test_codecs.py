"""Topics with a codec of their own, and batches whose records are looked at."""

import gzip
import time

import pytest
from harness.clients import ALL_CODECS, FAMILIES
from harness.raw import answered, batch, fetched, produced

TOPIC_CODECS = ("uncompressed", *ALL_CODECS[1:])
#: Numbers of Kafka's errors.
OK, CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, INVALID_TIMESTAMP, INVALID_RECORD = 0, 2, 10, 32, 87
GZIP = 1
READERS = ("confluent-kafka", "java", "franz-go", "kafka-python")


def varint(n: int) -> bytes:
    """As records have every number."""
    n, out = n << 1 ^ n >> 63, b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def record(value: bytes, offset: int = 0, time: int = 0) -> bytes:
    """Without key or headers, this long (ms) after its batch's first timestamp."""
    body = b"\x00" + varint(time) + varint(offset) + varint(-1) + varint(len(value)) + value + varint(0)
    return varint(len(body)) + body


FIRST, SECOND = record(b"a"), record(b"b", offset=1)


def codecs(broker, topic: str) -> list[str]:
    """Codecs of the stored batches, in order."""
    error, stored = fetched(broker, topic)
    assert error == OK
    return [TOPIC_CODECS[b.codec] for b in stored]


@pytest.mark.parametrize("codec", TOPIC_CODECS)
def test_a_topic_stores_its_own_codec_and_every_client_reads_it(broker, admin, name, codec):
    """Each codec is sent by another client family, and all is read by several."""
    admin.create(name, **{"compression.type": codec})
    writers = [f for f in FAMILIES.values() if f.available()]
    expected = []
    for n, sent in enumerate(ALL_CODECS):
        able = [f for f in writers if sent in f.codecs]
        writer = able[(n + TOPIC_CODECS.index(codec)) % len(able)]
        values = [f"{writer} {sent} {i} " + "x" * 500 for i in range(20)]
        records = [{"key": str(i), "value": v, "partition": 0, "headers": [["h", sent]]} for i, v in enumerate(values)]
        answers = writer.produce(broker.bootstrap, name, records, compression=sent)
        assert [a.get("offset") for a in answers] == list(range(len(expected), len(expected) + 20)), answers
        expected += values
    assert set(codecs(broker, name)) == {codec}
    for reader in READERS:
        if FAMILIES[reader].available():
            seen = FAMILIES[reader].consume(broker.bootstrap, name, len(expected))
            assert [r["value"] for r in seen] == expected, reader
            assert [r["offset"] for r in seen] == list(range(len(expected))), reader
            assert [r["headers"][0][1] for r in seen[::20]] == list(ALL_CODECS), reader


def test_a_topics_codec_can_be_changed(broker, admin, librdkafka, name):
    admin.create(name)
    records = [{"value": "v" * 100, "partition": 0}]

    def sent():
        librdkafka.produce(broker.bootstrap, name, records, compression="gzip")
        return codecs(broker, name)[-1]

    assert sent() == "gzip"
    admin.set_config(name, **{"compression.type": "lz4"})
    assert sent() == "lz4"
    admin.set_config(name, "DELETE", **{"compression.type": ""})
    assert sent() == "gzip"
    assert codecs(broker, name) == ["gzip", "lz4", "gzip"], "what is stored stays as it is"


@pytest.mark.settings(compression_type="snappy")
def test_topics_fall_back_on_the_brokers_codec(own_broker, admin_of, librdkafka, name):
    admin = admin_of(own_broker.bootstrap)
    admin.create(name)
    admin.create(f"{name}-own", **{"compression.type": "producer"})
    assert admin.config(name)["compression.type"].value == "snappy"
    for topic in (name, f"{name}-own"):
        librdkafka.produce(own_broker.bootstrap, topic, [{"value": "v" * 100, "partition": 0}], compression="zstd")
    assert (codecs(own_broker, name), codecs(own_broker, f"{name}-own")) == (["snappy"], ["zstd"])


@pytest.mark.parametrize("codec, low, high", [("gzip", 1, 9), ("zstd", -50, 19)])
def test_levels_make_batches_smaller(broker, admin, librdkafka, name, codec, low, high):
    value = " ".join(str(n * n) for n in range(5000))
    size = {}
    for level in (low, high):
        topic = f"{name}-{level}"
        admin.create(topic, **{"compression.type": codec, f"compression.{codec}.level": level})
        librdkafka.produce(broker.bootstrap, topic, [{"value": value, "partition": 0}])
        [stored] = fetched(broker, topic)[1]
        size[level] = len(stored.records)
    assert size[high] < size[low], size


def test_a_retried_batch_is_stored_once(broker, admin, librdkafka, name):
    admin.create(name, **{"compression.type": "zstd"})
    producer = {"producer": 4_711_000_000, "producer_epoch": 0, "attributes": GZIP}
    first = batch(gzip.compress(FIRST + SECOND), count=2, last=1, sequence=0, **producer)
    second = batch(gzip.compress(FIRST), sequence=2, **producer)
    for _ in range(3):
        assert answered(broker, name, first) == (OK, 0)
    assert answered(broker, name, second) == (OK, 2)
    assert answered(broker, name, first) == (OK, 0)
    assert admin.start_and_end(name) == (0, 3)
    assert [r["value"] for r in librdkafka.consume(broker.bootstrap, name, 3)] == ["a", "b", "a"]


def test_a_batch_is_measured_as_sent_and_as_stored(broker, admin, name):
    long = record(b"x" * 10_000)
    packed = batch(gzip.compress(long), attributes=GZIP)
    for codec, records, error in (
        ("producer", packed, OK),
        ("zstd", packed, OK),
        ("uncompressed", packed, MESSAGE_TOO_LARGE),
        ("gzip", batch(long), MESSAGE_TOO_LARGE),
    ):
        admin.create(f"{name}-{codec}", **{"compression.type": codec, "max.message.bytes": 5000})
        assert produced(broker, f"{name}-{codec}", records) == error, codec


def test_old_fetches_are_given_zstd_too(broker, admin, name):
    """As in Kafka 4, which once refused them where a topic's setting said zstd."""
    admin.create(name, **{"compression.type": "zstd"})
    assert produced(broker, name, batch()) == OK
    for version in (4, 10):
        error, [stored] = fetched(broker, name, version)
        assert (error, stored.codec) == (OK, TOPIC_CODECS.index("zstd"))


@pytest.fixture
def validating(pytestconfig, request):
    """A broker that looks at records: Kafka always does, Millrace by a setting."""
    if pytestconfig.getoption("--bootstrap") or pytestconfig.getoption("--kafka"):
        return request.getfixturevalue("broker")
    return request.getfixturevalue("start_millrace")(validate="full")


def lie(records: bytes, count: int = 1) -> dict:
    return {"records": records, "count": count, "last": count - 1}


LIES = {
    "fewer records than it says": lie(FIRST, 2),
    "more records than it says": lie(FIRST + SECOND, 1),
    "bytes behind the last record": lie(FIRST + b"\x00", 1),
    "a record cut off": lie(FIRST + SECOND[:-2], 2),
    "a record that is longer than its fields": lie(b"\x10" + FIRST[1:] + b"\x00", 1),
    "a record that is shorter than its fields": lie(b"\x0c" + FIRST[1:], 1),
    "a length beyond the batch": lie(b"\xfe\xff\x7f" + FIRST[1:], 1),
    "a value beyond the record": lie(FIRST[:5] + b"\x7e" + FIRST[6:], 1),
    "a header that is not there": lie(FIRST[:-1] + b"\x02", 1),
}
#: Kafka skips through compressed records by the lengths of their fields, and believes what those of records say.
UNSEEN_BY_KAFKA = ("a record that is shorter than its fields", "a length beyond the batch")


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_lies_about_records_are_refused(validating, admin_of, librdkafka, name, packed):
    admin = admin_of(validating.bootstrap)
    admin.create(name)

    def sent(records, **fields):
        if packed:
            return batch(gzip.compress(records), attributes=GZIP, **fields)
        return batch(records, **fields)

    skips = packed and validating.name != "millrace"
    lies = {what: fields for what, fields in LIES.items() if not (skips and what in UNSEEN_BY_KAFKA)}
    answers = {what: produced(validating, name, sent(**fields)) for what, fields in lies.items()}
    assert answers == dict.fromkeys(lies, INVALID_RECORD)
    assert produced(validating, name, sent(FIRST + SECOND, count=2, last=1)) == OK
    assert admin.start_and_end(name) == (0, 2)
    assert [r["value"] for r in librdkafka.consume(validating.bootstrap, name, 2)] == ["a", "b"]


@pytest.mark.millrace  # Kafka renumbers compressed records, stores others as they are, and answers UNKNOWN_SERVER_ERROR to garbage
@pytest.mark.parametrize("attributes, records", [(0, SECOND), (GZIP, gzip.compress(SECOND)), *((n, b"garbage") for n in (1, 2, 3, 4))])
def test_offsets_and_compressed_bytes_have_to_be_right(start_millrace, admin_of, name, attributes, records):
    broker = start_millrace(validate="full")
    admin_of(broker.bootstrap).create(name)
    assert produced(broker, name, batch(records, attributes=attributes)) == INVALID_RECORD
    assert produced(broker, name, batch(attributes=attributes, crc=1)) == CORRUPT_MESSAGE


def test_every_timestamp_is_looked_at_and_the_largest_put_right(validating, admin_of, name):
    admin = admin_of(validating.bootstrap)
    admin.create(name, **{"message.timestamp.before.max.ms": 3_600_000})
    now = int(time.time() * 1000)
    old = batch(FIRST + record(b"old", offset=1, time=-7_200_000), count=2, last=1, first_time=now)
    assert produced(validating, name, old) == INVALID_TIMESTAMP
    later = batch(FIRST + record(b"later", offset=1, time=500), count=2, last=1, first_time=now, max_time=now)
    assert produced(validating, name, later) == OK
    [stored] = fetched(validating, name)[1]
    assert stored.max_timestamp == now + 500


@pytest.mark.millrace
def test_without_looking_lies_hurt_only_their_readers(broker, admin, name):
    """`validate` is header by default."""
    admin.create(name)
    for fields in LIES.values():
        assert produced(broker, name, batch(**fields)) == OK
    assert admin.start_and_end(name)[1] > 0
