"""The source: flights-3m.parquet of the npm package vega-datasets as JSON events, split into shares by airport.

An event is `origin TAB {"row":n,"date":…,"delay":…,"distance":…,"origin":…,"destination":…}`, rows in the file's order. Each airport
belongs to one share, so that one producer writes all events of a key, in row order.
"""

import hashlib
import json
from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet
from harness.process import TOOLS

PARQUET = TOOLS / "node/node_modules/vega-datasets/data/flights-3m.parquet"


def digest(value: bytes) -> int:
    """64 bits of an event, by which it is recognised."""
    return int.from_bytes(hashlib.blake2b(value, digest_size=8).digest())


def checksum(digests: array) -> str:
    """One hash over all events in row order."""
    return hashlib.sha256(digests.tobytes()).hexdigest()[:32]


@dataclass
class Source:
    shares: list[Path]
    digests: array  # by row
    origins: list[str]  # by row

    @property
    def rows(self) -> int:
        return len(self.digests)


def write_shares(folder: Path, rows: int, shares: int) -> Source:
    """Writes the first `rows` flights into `shares` files of about the same number of events."""
    parquet = pyarrow.parquet.ParquetFile(PARQUET)
    share_of = _share_by_airport(parquet, shares)
    source = Source([folder / f"share-{n}.tsv" for n in range(shares)], array("Q"), [])
    files = [path.open("w") for path in source.shares]
    for batch in parquet.iter_batches(100_000):
        for flight in batch.slice(0, rows - source.rows).to_pylist():
            origin = flight["origin"]
            flight["date"] = flight["date"].isoformat(timespec="minutes")
            value = json.dumps({"row": source.rows, **flight}, separators=(",", ":"))
            files[share_of[origin]].write(f"{origin}\t{value}\n")
            source.digests.append(digest(value.encode()))
            source.origins.append(origin)
        if source.rows == rows:
            break
    for file in files:
        file.close()
    assert source.rows == rows, f"the file has only {source.rows} rows"
    return source


def _share_by_airport(parquet, shares: int) -> dict[str, int]:
    """Each airport goes to the share with the fewest flights so far, busiest airports first."""
    flights = Counter(parquet.read(["origin"])["origin"].to_pylist())
    load, share_of = [0] * shares, {}
    for airport, count in sorted(flights.items(), key=lambda item: (-item[1], item[0])):
        share_of[airport] = load.index(min(load))
        load[share_of[airport]] += count
    return share_of
