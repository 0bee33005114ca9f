"""Bad input over raw sockets: after each, the server still serves, and its memory is bounded."""

import os
import random
import resource
import socket
import struct
import time
from contextlib import ExitStack

import pytest
from harness.process import until
from harness.raw import API_VERSIONS, FETCH, METADATA, PRODUCE, answer, batch, connect, framed, header, produced

#: What one hostile client may make the server hold, beyond what it held before.
MEMORY_MAX = 300 * 1024 * 1024


def closed(s: socket.socket) -> bool:
    """The peer ends the connection, with whatever it says before."""
    try:
        while s.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.fixture(autouse=True)
def still_serves(broker):
    """Around each test: the server answers a well-behaved client afterwards, and holds little more memory than before."""
    before = broker.process.memory() if broker.process else 0
    yield
    with connect(broker) as s:
        s.sendall(framed(header(API_VERSIONS, 0)))
        correlation, error = struct.unpack(">ih", answer(s)[:6])
        assert (correlation, error) == (7, 0)
    if broker.process:
        assert broker.process.memory() - before < MEMORY_MAX


@pytest.mark.parametrize("seed", range(5))
def test_garbage(broker, seed):
    noise = random.Random(seed)
    for _ in range(20):
        with connect(broker) as s:
            try:
                s.sendall(noise.randbytes(noise.randrange(1, 5000)))
                s.shutdown(socket.SHUT_WR)
            except OSError:
                continue  # it was sure before all had come
            assert closed(s)


def test_other_protocols(broker):
    for hello in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), b"SSH-2.0-x\r\n"):
        with connect(broker) as s:
            s.sendall(hello)
            assert closed(s)


@pytest.mark.parametrize("length", [2**31 - 1, 2**30, 104_857_601, -1, -(2**31), 0, 3])
def test_lengths_that_no_request_has(broker, length):
    """Over socket.request.max.bytes, negative, or too short for a header: closed at the length alone."""
    with connect(broker) as s:
        s.sendall(struct.pack(">i", length))
        assert closed(s)


@pytest.mark.millrace  # Kafka gives them the memory, and ends
def test_a_length_alone_takes_no_memory(broker):
    """A hundred clients announce 100 MB each and send nothing of it."""
    with ExitStack() as stack:
        for _ in range(100):
            s = stack.enter_context(connect(broker))
            s.sendall(struct.pack(">i", 100_000_000) + header(PRODUCE, 9))
        with connect(broker) as s:
            s.sendall(framed(header(API_VERSIONS, 0)))
            assert answer(s)[:4] == struct.pack(">i", 7)
        if broker.process:
            assert broker.process.memory() < 3 * MEMORY_MAX


HOSTILE_COUNTS = {
    "metadata topics": header(METADATA, 1) + struct.pack(">i", 2**31 - 1),
    "metadata topics, compact": header(METADATA, 12) + b"\x00" + b"\xff\xff\xff\xff\x0f",
    "produce topics": header(PRODUCE, 3) + struct.pack(">hhii", -1, -1, 1000, 2**31 - 1),
    "produce partitions": header(PRODUCE, 3) + struct.pack(">hhiih1si", -1, -1, 1000, 1, 1, b"t", 2**31 - 1),
    "produce records": header(PRODUCE, 3) + struct.pack(">hhiih1siii", -1, -1, 1000, 1, 1, b"t", 1, 0, 2**31 - 1),
    "fetch topics": header(FETCH, 4) + struct.pack(">iiiibi", -1, 100, 1, 2**30, 0, 2**31 - 1),
    "join group protocols": header(11, 0) + struct.pack(">h1sihh8si", 1, b"g", 10_000, 0, 8, b"consumer", 2**31 - 1),
    "offset commit topics": header(8, 2) + struct.pack(">h1sihqi", 1, b"g", -1, 0, -1, 2**31 - 1),
    "create topics": header(19, 2) + struct.pack(">i", 2**31 - 1),
    "delete topics": header(20, 1) + struct.pack(">i", 2**31 - 1),
    "describe configs": header(32, 1) + struct.pack(">i", 2**31 - 1),
    "a negative count": header(20, 1) + struct.pack(">i", -(2**31)),
    "a string longer than the request": header(METADATA, 1) + struct.pack(">ih", 1, 32767),
    "a client id longer than the request": struct.pack(">hhih", METADATA, 1, 7, 32767),
}


@pytest.mark.parametrize("body", HOSTILE_COUNTS.values(), ids=HOSTILE_COUNTS)
def test_counts_and_lengths_that_the_request_cannot_hold(broker, body):
    with connect(broker) as s:
        s.sendall(framed(body))
        assert closed(s)


@pytest.mark.millrace  # Kafka is busy with it for half a minute
def test_many_small_things_in_one_request(broker):
    """Ten million empty topic names are a well-formed request of 20 MB: answered or refused, within bounds."""
    with connect(broker) as s:
        count = 10_000_000
        s.sendall(struct.pack(">i", len(header(METADATA, 1)) + 4 + 2 * count) + header(METADATA, 1) + struct.pack(">i", count))
        try:
            for _ in range(20):
                s.sendall(bytes(1_000_000))
            s.settimeout(60)
            s.recv(1)
        except ConnectionError:
            pass


@pytest.mark.parametrize("cut", [1, 4, 7, 11, 14])
def test_requests_cut_short(broker, cut):
    whole = framed(header(METADATA, 1) + struct.pack(">i", 0))
    with connect(broker) as s:
        s.sendall(whole[:cut])
        s.shutdown(socket.SHUT_WR)
        assert closed(s)


def test_unknown_apis_close_the_connection(broker):
    for api in (999, -1, 32767):
        with connect(broker) as s:
            s.sendall(framed(header(api, 0)))
            assert closed(s)


def test_unknown_versions_close_the_connection(broker):
    for version in (99, -1):
        with connect(broker) as s:
            s.sendall(framed(header(METADATA, version)))
            assert closed(s)


def test_an_unknown_version_of_api_versions_is_answered_in_version_0(broker):
    """KIP-511: error 35 and the range that is served, so that any client can start over."""
    with connect(broker) as s:
        s.sendall(framed(header(API_VERSIONS, 99) + b"\x00"))  # the header of a flexible version
        body = answer(s)
        correlation, error, count = struct.unpack(">ihi", body[:10])
        assert (correlation, error) == (7, 35)
        ranges = [struct.unpack(">hhh", body[10 + 6 * n : 16 + 6 * n]) for n in range(count)]
        assert len(body) == 10 + 6 * count
        [(_, lowest, highest)] = [r for r in ranges if r[0] == API_VERSIONS]
        assert lowest == 0 <= highest < 99
        s.sendall(framed(header(API_VERSIONS, 0, 8)))
        assert answer(s)[:6] == struct.pack(">ih", 8, 0), "the connection goes on"


def test_produce_below_version_3_is_advertised_and_refused(broker):
    with connect(broker) as s:
        s.sendall(framed(header(API_VERSIONS, 0)))
        body = answer(s)
        ranges = [struct.unpack(">hhh", body[10 + 6 * n : 16 + 6 * n]) for n in range(struct.unpack(">i", body[6:10])[0])]
        assert (PRODUCE, 0, 13) in ranges, "librdkafka compresses only if the minimum is 0 (KAFKA-18659)"


def test_a_client_that_never_reads(broker, admin, librdkafka, name):
    """It asks for 5 MB again and again and reads nothing: it is held back, not buffered for."""
    admin.create(name)
    librdkafka.produce(broker.bootstrap, name, [{"value": "x" * 100_000, "partition": 0} for _ in range(50)])
    fetch = struct.pack(">iiiibi", -1, 100, 1, 50_000_000, 0, 1) + struct.pack(">h", len(name)) + name.encode()
    fetch += struct.pack(">iiqi", 1, 0, 0, 50_000_000)
    before = broker.process.memory() if broker.process else 0
    with ExitStack() as stack:
        for _ in range(20):
            s = stack.enter_context(connect(broker))
            s.setblocking(False)
            requests = framed(header(FETCH, 4) + fetch) * 1000
            end = time.monotonic() + 0.2
            while requests and time.monotonic() < end:
                try:
                    requests = requests[s.send(requests) :]
                except BlockingIOError:
                    pass
                except ConnectionError:
                    break
        assert len(librdkafka.consume(broker.bootstrap, name, 50)) == 50, "others are served meanwhile"
        if broker.process:
            assert broker.process.memory() - before < MEMORY_MAX


def test_a_client_that_sends_byte_by_byte(broker):
    with connect(broker) as s:
        for byte in framed(header(API_VERSIONS, 0)):
            s.sendall(bytes([byte]))
        assert answer(s)[:6] == struct.pack(">ih", 7, 0)


def test_many_requests_at_once_are_answered_in_order(broker):
    with connect(broker) as s:
        s.sendall(b"".join(framed(header(API_VERSIONS, 0, n)) for n in range(500)))
        assert [struct.unpack(">i", answer(s)[:4])[0] for _ in range(500)] == list(range(500))


def test_thousands_of_idle_connections(broker):
    """5,000 on one machine is also 5,000 descriptors here."""
    wanted = 5000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted + 500:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 500), hard))
    before = broker.process.memory() if broker.process else 0
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(broker)) for _ in range(wanted)]
        for s in (idle[0], idle[wanted // 2], idle[-1]):
            s.sendall(framed(header(API_VERSIONS, 0)))
            assert answer(s)[:6] == struct.pack(">ih", 7, 0)
        if broker.process:
            assert broker.process.memory() - before < MEMORY_MAX


def test_half_open_and_aborted_connections(broker):
    """Clients that vanish: by a reset in the middle of a request, or with only their own half closed."""
    request = framed(header(METADATA, 1) + struct.pack(">i", -1))
    for _ in range(200):
        s = connect(broker)
        s.sendall(request[:-2])
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    with connect(broker) as s:
        s.sendall(request)
        s.shutdown(socket.SHUT_WR)
        assert closed(s), "what is half closed by the client is closed by the server"


@pytest.mark.settings(connections_max_idle_ms=1000)
def test_idle_connections_are_closed_in_time(own_broker):
    with connect(own_broker) as s:
        assert closed(s)


@pytest.mark.settings(max_connections=20)
def test_connections_over_the_limit_wait_or_are_closed_and_the_others_live(own_broker):
    with ExitStack() as stack:
        first = stack.enter_context(connect(own_broker))
        for _ in range(40):
            stack.enter_context(connect(own_broker))
        first.sendall(framed(header(API_VERSIONS, 0)))
        got = first.recv(4)
        assert got == b"" or len(got) == 4  # Kafka closes the one that was idle longest
    with connect(own_broker) as s:
        s.sendall(framed(header(API_VERSIONS, 0)))
        assert answer(s)[:6] == struct.pack(">ih", 7, 0)


LIES = {
    "a wrong CRC": batch(crc=1),
    "a length beyond the request": batch(length=2**31 - 1),
    "a length too short": batch(length=10),
    "a negative length": batch(length=-1),
    "magic 0": batch(magic=0),
    "magic 3": batch(magic=3),
    "a codec that does not exist": batch(attributes=7),
    "no records": batch(count=0),
    "minus one record": batch(count=-1),
    "a last offset that is not the count's": batch(last=5),
    "fewer bytes than a header": batch()[:40],
    "nothing": b"",
    "garbage": bytes(range(200)),
}


@pytest.mark.parametrize("records", LIES.values(), ids=LIES)
def test_lies_in_a_batch_header_are_refused_and_nothing_is_written(broker, admin, librdkafka, name, records):
    admin.create(name)
    assert produced(broker, name, batch()) == 0, "the truth is accepted"
    error = produced(broker, name, records)
    assert error != 0
    assert admin.start_and_end(name) == (0, 1)
    assert [r["value"] for r in librdkafka.consume(broker.bootstrap, name, 1)] == ["v"]


def test_lies_inside_compressed_records_hurt_only_their_readers(broker, admin, librdkafka, name):
    """The server does not decompress what it stores; it must survive what it can't read, by time too."""
    admin.create(name, partitions=2)
    librdkafka.produce(broker.bootstrap, name, [{"value": "good", "partition": 1}])
    bomb = b"\x1f\x8b\x08\x00" + os.urandom(60)
    error = produced(broker, name, batch(bomb, attributes=1))
    assert error is not None
    until(lambda: admin.partitions(name) == [0, 1], "it answers")
    try:
        from confluent_kafka.admin import OffsetSpec

        admin.offsets(name, OffsetSpec.for_timestamp(int(time.time() * 1000) - 60_000))
    except Exception as e:  # an error is an answer
        assert "timed out" not in str(e).lower()
    librdkafka.produce(broker.bootstrap, name, [{"value": "later", "partition": 1}])
    assert admin.start_and_end(name, 1) == (0, 2)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_partitions(own_broker, admin_of, librdkafka, name):
    admin = admin_of(own_broker.bootstrap)
    for n in range(10):
        admin.create(f"{name}-{n}", partitions=1000)
    records = [{"value": str(p), "partition": p} for p in range(1000)]
    for n in range(10):
        answers = librdkafka.produce(own_broker.bootstrap, f"{name}-{n}", records)
        assert [(a["partition"], a["offset"]) for a in answers] == [(p, 0) for p in range(1000)]
    own_broker.restart()
    assert len(librdkafka.consume(own_broker.bootstrap, f"{name}-5", 1000)) == 1000
    if own_broker.name == "millrace":
        assert own_broker.process.memory() < 1024**3
