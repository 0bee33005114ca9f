"""What the server's own commands show on a terminal: progress, and a question before what can't be undone."""

import re
import subprocess

import pytest
from confluent_kafka import Producer
from harness.servers import millrace_binary
from harness.terminal import Terminal

pytestmark = pytest.mark.millrace


def on_terminal(*words) -> Terminal:
    return Terminal([millrace_binary(), *words], columns=120)


def produce(server, topic: str, value: bytes):
    producer = Producer({"bootstrap.servers": server.bootstrap, "log_level": 0})
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def rot(data, value: bytes):
    """Flips a byte in the middle of the record with this value."""
    for path in [*sorted(data.glob("*.wal")), *sorted(data.glob("*.sorted"))]:
        content = bytearray(path.read_bytes())
        if (at := content.find(value)) >= 0:
            content[at + len(value) // 2] ^= 1
            path.write_bytes(content)
            return
    raise AssertionError("it is in no log file")


VALUES = [f"value-{n}-".encode() * 300 for n in range(5)]


@pytest.fixture
def server(start_millrace, admin_of, name):
    """A server with a record of each value, each in a batch of its own."""
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    for value in VALUES:
        produce(server, name, value)
    return server


def test_backup_and_check_show_progress(server, tmp_path):
    with on_terminal("backup", tmp_path / "backup", "--data-dir", server.data) as backup:
        assert "copying" in backup.ends()
    with on_terminal("check", tmp_path / "backup") as check:
        shown = check.ends()
        assert "verifying" in shown and "nothing is wrong" in shown
    silent = subprocess.run([millrace_binary(), "check", tmp_path / "backup"], capture_output=True, timeout=60)
    assert silent.returncode == 0 and silent.stderr == b"", "progress is for terminals"


def test_repair_asks_before_it_gives_offsets_up(server, name):
    server.terminate()
    rot(server.data, VALUES[2])
    with on_terminal("check", server.data) as check:
        [place] = re.findall(r"repair \S+ --skip (\S+)", check.ends(1))
    repair = ["repair", server.data, "--skip", place]
    with on_terminal(*repair) as question:
        question.shows("Give these offsets up for ever? [y/N]")
        question.types("\n")
        shown = question.ends(1)
        assert f"topic {name}, partition 0: offset 2" in shown and "nothing was changed" in shown
    assert not (server.data / "skips-1").exists()
    with on_terminal(*repair) as question:
        question.shows("[y/N]")
        question.types("y\n")
        assert "the next start honours it" in question.ends()
    assert (server.data / "skips-1").exists()
