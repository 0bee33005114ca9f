"""Kafka's protocol by hand, over a socket: for bytes that no client sends, and to see bytes that no client shows."""

import socket
import struct
import time
from dataclasses import dataclass

METADATA, PRODUCE, FETCH, API_VERSIONS = 3, 0, 1, 18


def connect(broker) -> socket.socket:
    host, port = broker.bootstrap.split(":")
    s = socket.create_connection((host, int(port)), timeout=10)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def header(api: int, version: int, correlation: int = 7) -> bytes:
    """A request header of version 1, of which those of flexible versions differ by tagged fields."""
    return struct.pack(">hhih", api, version, correlation, 4) + b"test"


def read_exactly(s: socket.socket, count: int) -> bytes:
    """So many bytes; fewer when the peer closes."""
    data = b""
    while len(data) < count and (more := s.recv(count - len(data))):
        data += more
    return data


def answer(s: socket.socket) -> bytes:
    """One response, without its length."""
    [length] = struct.unpack(">i", read_exactly(s, 4))
    return read_exactly(s, length)


def batch(records: bytes = b"", **wrong) -> bytes:
    """A record batch of one record, with fields that lie. The CRC is right, unless it is given."""
    now = int(time.time() * 1000)  # An old record would be deleted by retention, at any moment.
    f = {"base": 0, "length": None, "epoch": -1, "magic": 2, "crc": None, "attributes": 0, "last": 0, "first_time": now,
         "max_time": now, "producer": -1, "producer_epoch": -1, "sequence": -1, "count": 1, **wrong}  # fmt: skip
    records = records or b"\x0e\x00\x00\x00\x01\x02v\x00"
    body = struct.pack(">hiqqqhii", *(f[n] for n in ("attributes", "last", "first_time", "max_time", "producer", "producer_epoch", "sequence", "count")))
    body += records
    crc = crc32c(body) if f["crc"] is None else f["crc"]
    length = 9 + len(body) if f["length"] is None else f["length"]
    return struct.pack(">qiibI", f["base"], length, f["epoch"], f["magic"], crc) + body


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def produced(broker, topic: str, records: bytes) -> int | None:
    """The error code of a Produce of these bytes, None when the connection is closed."""
    said = answered(broker, topic, records)
    return said and said[0]


def answered(broker, topic: str, records: bytes) -> tuple[int, int] | None:
    """The error code and the base offset of a Produce of these bytes, None when the connection is closed."""
    name = topic.encode()
    body = struct.pack(">hhiih", -1, -1, 5000, 1, len(name)) + name + struct.pack(">iii", 1, 0, len(records)) + records
    with connect(broker) as s:
        s.sendall(framed(header(PRODUCE, 7) + body))
        try:
            said = answer(s)
        except struct.error:
            return None
    return struct.unpack(">hq", said[4 + 4 + 2 + len(name) + 4 + 4 :][:10])


@dataclass(frozen=True)
class Stored:
    """A batch as it is stored."""

    base_offset: int
    count: int
    codec: int
    max_timestamp: int
    records: bytes


def fetched(broker, topic: str, version: int = 10) -> tuple[int, list[Stored]]:
    """The error code and the batches of a Fetch of partition 0 from its beginning, at version 4 or 10."""
    name = topic.encode()
    new = version >= 10
    body = struct.pack(">iiiib", -1, 5000, 1, 10_000_000, 0) + (struct.pack(">ii", 0, -1) if new else b"")
    body += struct.pack(">ih", 1, len(name)) + name + struct.pack(">ii", 1, 0)
    body += struct.pack(">iqqi", -1, 0, -1, 10_000_000) if new else struct.pack(">qi", 0, 10_000_000)
    body += struct.pack(">i", 0) if new else b""
    with connect(broker) as s:
        s.sendall(framed(header(FETCH, version) + body))
        said = answer(s)
    at = 4 + 4 + (6 if new else 0) + 4 + 2 + len(name) + 4 + 4
    [error] = struct.unpack_from(">h", said, at)
    at += 2 + 8 + 8 + (8 if new else 0)
    [aborted] = struct.unpack_from(">i", said, at)
    at += 4 + 16 * max(aborted, 0)
    [length] = struct.unpack_from(">i", said, at)
    return error, list(_batches(said[at + 4 :][: max(length, 0)]))


def _batches(data: bytes):
    while data:
        base_offset, length = struct.unpack_from(">qi", data)
        attributes, _, _, max_timestamp = struct.unpack_from(">hiqq", data, 21)
        [count] = struct.unpack_from(">i", data, 57)
        yield Stored(base_offset, count, attributes & 7, max_timestamp, data[61 : 12 + length])
        data = data[12 + length :]
