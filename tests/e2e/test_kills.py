"""Kill -9 in a loop under three client families, judged by the history checker (tests/kills)."""

import os
import subprocess

import pytest
from harness.process import TESTS
from harness.servers import millrace_binary


@pytest.mark.millrace
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [20, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(7200)])])
def test_no_client_sees_a_broken_promise_through_kills(family, tmp_path, rounds):
    for name in ("confluent-kafka", "java", "franz-go"):
        family(name)  # or this is skipped
    command = [TESTS / "kills/run", "--rounds", str(rounds), "--keep", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MILLRACE_BIN": str(millrace_binary())})
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
