"""The flights (tests/flights) through kills and rebalances, and the check that judges them."""

import os
import subprocess
from array import array

import pytest
from flights.check import check
from flights.events import Source, checksum, digest
from harness.process import TESTS
from harness.servers import millrace_binary


def fly(pytestconfig, family, folder, *args, seconds: int, kinesis: bool = False):
    if pytestconfig.getoption("--bootstrap"):
        pytest.skip("kills its server")
    for name in ("java", "franz-go", "kafkajs"):  # the last for its part of the set-up, which brings the flights
        family(name)
    server = "kafka" if pytestconfig.getoption("--kafka") else "millrace"
    how = ["--kinesis"] if kinesis else ["--server", server]
    command = [TESTS / "flights/run", *how, "--keep", folder, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env={**os.environ, "MILLRACE_BIN": str(millrace_binary())})
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)


@pytest.mark.timeout(400)
def test_a_slice_of_the_flights(pytestconfig, family, tmp_path):
    fly(pytestconfig, family, tmp_path, "--rows", "60000", seconds=390)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_flights(pytestconfig, family, tmp_path):
    fly(pytestconfig, family, tmp_path, "--seconds", "60", seconds=1790)


@pytest.mark.millrace
@pytest.mark.timeout(400)
def test_a_slice_of_the_flights_by_kinesis(pytestconfig, family, tmp_path):
    fly(pytestconfig, family, tmp_path, "--rows", "60000", seconds=390, kinesis=True)


@pytest.mark.slow
@pytest.mark.millrace
@pytest.mark.timeout(3600)
def test_all_flights_by_kinesis(pytestconfig, family, tmp_path):
    fly(pytestconfig, family, tmp_path, seconds=3590, kinesis=True)


EVENTS = [b'{"row":%d,"to":"X%d"}' % (row, row) for row in range(6)]
ORIGINS = ["A", "B", "A", "B", "A", "B"]
ENDS = {0: 3, 1: 3}
#: As the topic should hold them: airport A in partition 0, B in 1.
PLACES = [(row % 2, row // 2, row) for row in range(6)]


def judged(folder, places, more=(), ends=ENDS, generation=None):
    """The check's complaints about members who saw `places`: (partition, offset, row)."""
    source = Source([], array("Q", map(digest, EVENTS)), ORIGINS)
    lines = [b"%d\t%d\t%s\t%s\n" % (p, o, ORIGINS[row].encode(), EVENTS[row]) for p, o, row in places]
    (folder / "member.tsv").write_bytes(b"".join([*lines, *more]))
    return check(source, [folder / "member.tsv"], ends, generation).wrong


def test_the_check_accepts_repetition_and_a_torn_last_line(tmp_path):
    assert judged(tmp_path, [*PLACES, *PLACES[2:]], more=[b'0\t0\tA\t{"ro']) == []


def test_the_check_finds_a_lost_row(tmp_path):
    assert "0@2 was never seen" in judged(tmp_path, [p for p in PLACES if p[2] != 4])


def test_the_check_finds_a_row_written_twice(tmp_path):
    assert any("row 0 stands at 0@1 and elsewhere" in w for w in judged(tmp_path, [(p, o, 0 if row == 2 else row) for p, o, row in PLACES]))


def test_the_check_finds_rows_out_of_order(tmp_path):
    swapped = {2: 4, 4: 2}
    wrong = judged(tmp_path, [(p, o, swapped.get(row, row)) for p, o, row in PLACES])
    assert any("row 2 of A stands behind row 4" in w for w in wrong)


def test_the_check_lets_a_key_go_on_in_the_next_generation_and_there_alone(tmp_path):
    moved = [(2, 0, 4) if row == 4 else (p, o, row) for p, o, row in PLACES]
    ends = {0: 2, 1: 3, 2: 1}
    assert judged(tmp_path, moved, ends=ends, generation={2: 1}) == []
    assert "key A stands in partitions 0 and 2" in judged(tmp_path, moved, ends=ends)
    back = [(0, 0, 4), (0, 1, 2), (2, 0, 0), *PLACES[1::2]]
    assert any("row 0 of A stands behind row 2" in w for w in judged(tmp_path, back, ends=ends, generation={2: 1}))


def test_the_check_finds_an_offset_that_changed(tmp_path):
    assert any("was row 0 and later row 2" in w for w in judged(tmp_path, [*PLACES, (0, 0, 2)]))


def test_the_check_finds_a_changed_event(tmp_path):
    changed = b'1\t1\tB\t{"row":3,"to":"other"}\n'
    wrong = judged(tmp_path, [p for p in PLACES if p[2] != 3], more=[changed])
    assert any("checksum" in w for w in wrong)


def test_the_checksum_depends_on_the_order():
    assert checksum(array("Q", [1, 2])) != checksum(array("Q", [2, 1]))
