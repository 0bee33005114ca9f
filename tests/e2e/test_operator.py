"""What an operator sees: whether it is ready, what it counts, what it logs."""

import json
import os
import signal
import urllib.error
import urllib.request

import pytest
from harness.faults import needs, slowed
from harness.load import Load
from harness.process import until

pytestmark = pytest.mark.millrace


def ready(server, accept: str = "*/*") -> tuple[int, str]:
    """What /readyz says: 0 while nobody listens."""
    request = urllib.request.Request(f"http://{server.http}/readyz", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()
    except (urllib.error.URLError, ConnectionError):
        return 0, ""


def test_a_flush_that_hangs_is_not_ready_until_it_returns(start_millrace, admin_of, name, tmp_path):
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    with Load(server.bootstrap, name) as load:
        load.goes_on()
        assert ready(server) == (200, "ready\n")
        with slowed(server, "fdatasync", 8, "1", tmp_path / "strace"):
            status, said = until(lambda: (now := ready(server))[0] == 503 and now, "it is not ready")
            assert said.startswith("hanging: a flush of the log has not returned for 5."), said
            told = json.loads(ready(server, "application/json")[1])
            assert (told["ready"], told["state"], told["doing"]) == (False, "hanging", "a flush")
            assert told["seconds"] >= 5
            assert server.metric("millrace_ready") == 0
            assert server.metric("millrace_log_io_pending_seconds") >= 5
            until(lambda: ready(server) == (200, "ready\n"), "the flush has returned")
        load.goes_on()
        load.finish()
    assert server.metric("millrace_ready") == 1
    assert server.metric("millrace_log_failures_total") == 0, "what is slow has not failed"
    load.check()


def test_a_start_says_how_far_it_is(start_millrace, admin_of, name, tmp_path):
    """A log that was killed is read back over a slow disk: the figures rise, and in the end it is ready."""
    needs("strace")
    server = start_millrace()
    admin_of(server.bootstrap).create(name)
    with Load(server.bootstrap, name, size=10_000) as load:
        load.goes_on(1_000)
        load.finish()
    server.kill()
    slow = ("strace", "-f", "-o", str(tmp_path / "strace"), "-e", "trace=pread64", "-e", "inject=pread64:delay_enter=50000")
    server.spawn(under=slow)
    try:
        seen: list[dict] = []

        def is_ready() -> bool:
            status, said = ready(server, "application/json")
            if status == 503:
                seen.append(json.loads(said))
            return status == 200

        until(is_ready, "it has read its log", 60)
        told = [s for s in seen if s.get("doing") == "reading the log"]
        assert told, seen
        assert all(s["state"] == "recovering" and s["files"] >= 1 for s in told)
        read = [s["bytes_read"] for s in told]
        assert read == sorted(read) and len(set(read)) > 2, read
        assert told[-1]["bytes"] >= read[-1] > 0
        until(lambda: (server.data / "endpoints.json").exists(), "it serves")
        os.kill(json.loads((server.data / "endpoints.json").read_text())["pid"], signal.SIGTERM)
        server.process.child.wait(30)
    finally:
        server.stop()
    server.start()
    load.check()
