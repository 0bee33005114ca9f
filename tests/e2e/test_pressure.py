"""More of everything than is reasonable: others go on, memory is bounded, and what was taken comes back."""

import resource
import selectors
import socket
import struct
import threading
from contextlib import ExitStack, contextmanager

import pytest
from confluent_kafka.admin import NewTopic
from harness.load import Load, read
from harness.process import until
from test_hostile import API_VERSIONS, FETCH, MEMORY_MAX, PRODUCE, answer, batch, connect, framed, header


def produce_request(topics: list[str], records: bytes, correlation: int = 7) -> bytes:
    """The same batch for partition 0 of each topic."""
    data = b"".join(struct.pack(">h", len(t)) + t.encode() + struct.pack(">iii", 1, 0, len(records)) + records for t in topics)
    return framed(header(PRODUCE, 7, correlation) + struct.pack(">hhii", -1, -1, 30_000, len(topics)) + data)


def produced(body: bytes) -> list[tuple[int, int]]:
    """Error code and base offset for each topic of a response."""
    results, at = [], 8
    for _ in range(struct.unpack(">i", body[4:8])[0]):
        at += 2 + struct.unpack(">h", body[at : at + 2])[0] + 4 + 4
        results.append(struct.unpack(">hq", body[at : at + 10]))
        at += 26
    return results


@contextmanager
def connections(broker, count: int):
    """So many at once, if the process may have them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 500:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 500), hard))
    with ExitStack() as stack:
        yield [stack.enter_context(connect(broker)) for _ in range(count)]


def test_thousands_of_active_connections(broker, admin, name):
    """5,000 connections have each a batch under way, three times over: each is answered, and each stands in the log."""
    admin.create(name)
    before = broker.process.memory() if broker.process else 0
    count, rounds = 5000, 3
    offsets: set[int] = set()
    with connections(broker, count) as sockets, selectors.DefaultSelector() as selector:
        for s in sockets:
            s.setblocking(False)
            selector.register(s, selectors.EVENT_READ, bytearray())
        request = produce_request([name], batch())
        for n in range(rounds):
            for s in sockets:
                assert s.send(request) == len(request)

            def all_are_answered() -> bool:
                for key, _ in selector.select(0.1):
                    key.data.extend(key.fileobj.recv(65536))
                    if len(key.data) >= 4 and len(key.data) == 4 + struct.unpack(">i", key.data[:4])[0]:
                        [(error, offset)] = produced(bytes(key.data[4:]))
                        assert error == 0
                        offsets.add(offset)
                        key.data.clear()
                return len(offsets) == count * (n + 1)

            until(all_are_answered, "all connections are answered", 90)
        if broker.process:
            assert broker.process.memory() - before < MEMORY_MAX
    assert offsets == set(range(count * rounds))
    assert admin.start_and_end(name) == (0, count * rounds)


def test_a_flood_of_small_requests_leaves_others_their_turn(broker, admin, name):
    """Four connections that always have thousands of requests under way, and a producer that goes on meanwhile."""
    admin.create(name)
    flood = b"".join(framed(header(API_VERSIONS, 0, n)) for n in range(5_000))
    size = len(flood)
    answered = [0] * 4
    stopping = threading.Event()

    def send(s):
        while not stopping.is_set():
            try:
                s.sendall(flood)
            except OSError:
                return

    def receive(n, s):
        while not stopping.is_set():
            try:
                answered[n] += len(s.recv(1 << 20))
            except OSError:
                return

    with connections(broker, 4) as sockets, Load(broker.bootstrap, name) as load:
        load.goes_on()
        threads = [threading.Thread(target=send, args=(s,)) for s in sockets]
        threads += [threading.Thread(target=receive, args=(n, s)) for n, s in enumerate(sockets)]
        for thread in threads:
            thread.start()
        try:
            before = sum(answered)
            load.goes_on(2_000)
            until(lambda: sum(answered) > before + 10 * size, "it was a flood")
            load.goes_on(1_000)
            load.finish()
        finally:
            stopping.set()
            for s in sockets:
                s.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
    load.check()


def fetch_request(topic: str, offset: int, bytes_max: int, correlation: int = 7) -> bytes:
    body = struct.pack(">iiiibi", -1, 100, 1, bytes_max, 0, 1) + struct.pack(">h", len(topic)) + topic.encode()
    return framed(header(FETCH, 4, correlation) + body + struct.pack(">iiqi", 1, 0, offset, bytes_max))


@pytest.mark.millrace
def test_readers_that_stop_reading_hold_up_nobody(start_millrace, admin_of, name):
    """Two hundred ask for megabytes each, far more than there is memory for, and take nothing: others write and read on."""
    server = start_millrace(cache_bytes=8 << 20, log_file_bytes=16 << 20)
    admin = admin_of(server.bootstrap)
    admin.create(name)
    admin.create(name + "-other")
    with Load(server.bootstrap, name, size=10_000) as filled:
        filled.goes_on(4_000)
        filled.finish()
    with connections(server, 200) as sockets, Load(server.bootstrap, name + "-other") as load:
        load.goes_on()
        before = server.process.memory()
        for n, s in enumerate(sockets):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for k in range(3):
                s.sendall(fetch_request(name, (n * 20 + k * 700) % 4_000, 5_000_000, k))
        load.goes_on(2_000)
        [(_, rows)] = read(server.bootstrap, name, {0: 4_000}).items()
        assert len(rows) == 4_000, "others read"
        load.goes_on(2_000)
        assert server.process.memory() - before < MEMORY_MAX
        load.finish()
    load.check()


@pytest.mark.millrace
def test_a_memory_limit_is_lived_with(start_millrace, admin_of, name):
    """With settings for a small machine and a limit that the system enforces: producers wait, and nothing fails for want of memory."""
    small = {"queued.max.request.bytes": 32 << 20, "num.partitions": 100}
    server = start_millrace(cache_bytes=16 << 20, pending_bytes_max=4 << 20, kafka=small)
    resource.prlimit(server.process.pid, resource.RLIMIT_DATA, (LIMIT, LIMIT))
    admin = admin_of(server.bootstrap)
    for n in range(10):
        admin.create(f"{name}-{n}", partitions=100)
    admin.create(name)
    large = produce_request([name], batch(b"\x0e\x00\x00\x00\x01\x02v\x00"))
    with connections(server, 500) as sockets, ExitStack() as loads:
        for n, s in enumerate(sockets):
            # Half of them announce a megabyte and stop half way; the others ask for more than they take.
            if n % 2:
                s.sendall(struct.pack(">i", 1_000_000) + header(PRODUCE, 7))
            else:
                s.sendall(large + fetch_request(name, 0, 50_000_000))
        writers = [
            loads.enter_context(Load(server.bootstrap, f"{name}-{n}", partitions=100, size=20_000, under_way_max=200, **{"batch.size": 1_000_000}))
            for n in range(2)
        ]
        for load in writers:
            load.goes_on(300)
        for load in writers:
            load.finish()
    for load in writers:
        load.check()
    assert server.process.alive()


#: For everything that a process may write to, stacks of threads included.
LIMIT = 320 << 20


@pytest.mark.millrace
@pytest.mark.parametrize("topics", [200, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_topics_come_and_go_and_leave_nothing(start_millrace, admin_of, name, topics):
    """Each gets a batch of 200 KB. At the end files, memory and catalog are as small as after the first of them."""
    server = start_millrace(log_file_bytes=16 << 20, reserve_bytes=4 << 20, cache_bytes=8 << 20)
    client = admin_of(server.bootstrap).client
    value = bytes(200_000)
    record = b"\x00\x00\x00\x01" + varint(len(value)) + value + b"\x00"
    records = batch(varint(len(record)) + record)
    memory = 0
    for first in range(0, topics, 100):
        names = [f"{name}-{n}" for n in range(first, first + 100)]
        for created in client.create_topics([NewTopic(t, 1, 1) for t in names]).values():
            created.result(60)
        with connect(server) as s:
            for t in names:
                s.sendall(produce_request([t], records))
                assert [error for error, _ in produced(answer(s))] == [0]
        for deleted in client.delete_topics(names, operation_timeout=60).values():
            deleted.result(60)
        memory = memory or server.process.memory()
    assert server.metric("millrace_broker_topics") == 0
    until(lambda: server.disk_bytes() < 60 << 20, "space comes back", 120)
    assert server.process.memory() < memory + (32 << 20)
    server.restart()
    assert server.metric("millrace_broker_topics") == 0
    until(lambda: server.disk_bytes() < 60 << 20, "space stays back", 120)


def varint(n: int) -> bytes:
    """Zigzag, as in a record."""
    n, out = n << 1, bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


