"""The check: what the members of the group wrote down, against the source and the broker's end offsets."""

from array import array
from dataclasses import dataclass, field
from pathlib import Path

from flights.events import Source, checksum, digest


@dataclass
class Verdict:
    """What was seen, and what is wrong with it (at most a few of each kind)."""

    lines: int = 0
    repeated: int = 0
    wrong: list[str] = field(default_factory=list)
    checksum: str = ""

    def complain(self, what: str):
        if len(self.wrong) < 20:
            self.wrong.append(what)


def check(source: Source, seen: list[Path], ends: dict[int, int], generation: dict[int, int] | None = None) -> Verdict:
    """`seen` are the members' files, `ends` the end offset of each partition, all of which start at 0. `generation` says which
    partitions took over from which: a key then stands in one partition of each."""
    verdict = Verdict()
    row_at = {partition: array("q", [-1]) * end for partition, end in ends.items()}
    digests = array("Q", [0]) * source.rows
    for path in seen:
        _read(path, row_at, digests, source, verdict)
    _check_places(source, row_at, generation or {}, verdict)
    verdict.checksum = checksum(digests)
    if verdict.checksum != checksum(source.digests):
        verdict.complain(f"the checksum over all events is {verdict.checksum}, the source's {checksum(source.digests)}")
    return verdict


def _read(path: Path, row_at: dict[int, array], digests: array, source: Source, verdict: Verdict):
    """Each line names a (partition, offset): the same event whenever it is seen again."""
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                continue  # the last words of a member that was killed: never committed, so read again by another
            partition, offset, key, value = line[:-1].split(b"\t", 3)
            partition, offset = int(partition), int(offset)
            row = int(value[7 : value.index(b",")])  # {"row":123,…
            verdict.lines += 1
            if offset >= len(row_at[partition]):
                verdict.complain(f"{partition}@{offset} was read, but the partition ends at {len(row_at[partition])}")
                continue
            known, sum_ = row_at[partition][offset], digest(value)
            if known == row and digests[row] == sum_:
                verdict.repeated += 1
                continue
            if known != -1:
                verdict.complain(f"{partition}@{offset} was row {known} and later row {row}, or other bytes of it ({path.name})")
            if key.decode() != source.origins[row]:
                verdict.complain(f"{partition}@{offset}: row {row} has key {key.decode()}, not {source.origins[row]}")
            row_at[partition][offset], digests[row] = row, sum_


def _check_places(source: Source, row_at: dict[int, array], generation: dict[int, int], verdict: Verdict):
    """No offset unseen, each row at exactly one, a key in one partition of a generation, and in row order through all of them."""
    place = bytearray(source.rows)
    home: dict[tuple[str, int], int] = {}
    last: dict[str, int] = {}
    for partition, rows in sorted(row_at.items(), key=lambda item: (generation.get(item[0], 0), item[0])):
        born = generation.get(partition, 0)
        for offset, row in enumerate(rows):
            if row == -1:
                verdict.complain(f"{partition}@{offset} was never seen")
                continue
            if place[row]:
                verdict.complain(f"row {row} stands at {partition}@{offset} and elsewhere")
            place[row] = 1
            key = source.origins[row]
            if home.setdefault((key, born), partition) != partition:
                verdict.complain(f"key {key} stands in partitions {home[key, born]} and {partition}")
            if last.get(key, -1) >= row:
                verdict.complain(f"{partition}@{offset}: row {row} of {key} stands behind row {last[key]}")
            last[key] = row
    if missing := source.rows - sum(place):
        verdict.complain(f"{missing} rows stand nowhere, the first is {place.index(0)}")
