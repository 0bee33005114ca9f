"""What is beside the binary: the systemd unit, the container image, the static build."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from harness.faults import needs
from harness.load import Load
from harness.process import ROOT, Process, until
from harness.servers import Millrace, millrace_binary

pytestmark = pytest.mark.millrace

UNIT = ROOT / "ops/millrace.service"
DOCKERFILE = ROOT / "ops/Dockerfile"


def unit_with(binary: Path, at: Path) -> Path:
    unit = at / "millrace.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/millrace", str(binary)))
    return unit


def test_the_unit_is_sound_and_hardened(tmp_path):
    needs("systemd-analyze")
    unit = unit_with(millrace_binary(), tmp_path)
    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    # Units of the machine's own are looked at too: theirs are not ours to judge.
    ours = [line for line in verified.stderr.splitlines() if "millrace" in line]
    assert not ours, verified.stderr
    security = ["systemd-analyze", "security", "--offline=yes", "--no-pager", unit]
    judged = subprocess.run(security, capture_output=True, text=True)
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert exposure and float(exposure[1]) <= 2.0, judged.stdout[-2000:] + judged.stderr


def allowed_calls() -> set[str]:
    """The system calls that the unit's filter lets through."""
    sets: dict[str, list[str]] = {}
    printed = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter"], capture_output=True, text=True, check=True)
    name = ""
    for line in printed.stdout.splitlines():
        if line.startswith("@"):
            name = line.strip()
            sets[name] = []
        elif name and line.startswith("    ") and not line.strip().startswith("#"):
            sets[name].append(line.strip())

    def expand(word: str) -> set[str]:
        return {call for inner in sets[word] for call in expand(inner)} if word.startswith("@") else {word}

    allowed: set[str] = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        words = {call for word in line.lstrip("~").split() for call in expand(word)}
        allowed = allowed - words if line.startswith("~") else allowed | words
    return allowed


def endpoints(data: Path) -> dict | None:
    file = data / "endpoints.json"
    return json.loads(file.read_text() or "null") if file.exists() else None


def test_the_units_filter_lets_through_what_the_server_does(tmp_path):
    needs("strace", "systemd-analyze")
    server = Millrace(tmp_path / "server")
    trace = tmp_path / "calls"
    strace = server.spawn(under=("strace", "-f", "-qq", "-o", str(trace)))
    try:
        told = until(lambda: endpoints(server.data), "millrace serves under strace", 60)
        server.bootstrap, server.http = told["kafka"][0]["address"], told["http"][0]
        with Load(server.bootstrap, "t") as load:
            load.goes_on()
            load.finish()
        server.metric("millrace_log_commits_total")
        os.kill(told["pid"], signal.SIGTERM)
        assert strace.child.wait(60) == 0
    finally:
        if strace.alive() and (told := endpoints(server.data)):
            os.kill(told["pid"], signal.SIGKILL)
        strace.stop()
    called = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", trace.read_text(), re.MULTILINE))
    assert {"fallocate", "fdatasync", "accept4", "openat"} <= called
    # SQLite gives its files to their directory's owner where it is root, which the unit's user never is.
    assert called - {"fchown"} <= allowed_calls()


def test_the_service_manager_hears_of_start_and_end(tmp_path):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        heard.settimeout(60)
        server = Millrace(tmp_path / "server", environment={"NOTIFY_SOCKET": str(path)}).start()
        try:
            assert heard.recv(1000).startswith(b"READY=1\n")
            assert server.terminate() == 0
            assert heard.recv(1000).startswith(b"STOPPING=1\n")
        finally:
            server.stop()


def test_the_image_is_one_file_run_by_nobody():
    """As far as it goes without a registry of images: what it is put together from, and that its settings are good."""
    stages = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.MULTILINE)
    last = stages[-1]
    assert last.startswith("scratch\n")
    user = re.search(r"^USER (\d+):(\d+)$", last, re.MULTILINE)
    assert user and "0" not in user.groups()
    given = dict(re.findall(r"(MILLRACE_[A-Z_]+)=(\S+)", last.split("ENV ", 1)[1].split("\nVOLUME")[0]))
    checked = subprocess.run([millrace_binary(), "config", "check"], env={**os.environ, **given}, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    assert given["MILLRACE_DATA_DIR"] == "/data" and "VOLUME /data" in last


@pytest.mark.slow
def test_the_static_binary_needs_nothing_beside_it(tmp_path):
    """The last stage of the image: an empty root, an unprivileged user, one file. Builds it, which takes minutes."""
    needs("cargo", "chroot")
    host = re.search(r"^host: (\S+)$", subprocess.check_output(["rustc", "-vV"], text=True), re.MULTILINE)[1]
    if "-linux-gnu" not in host or os.geteuid():
        pytest.skip("needs glibc's static libraries, and root for chroot")
    target = millrace_binary().parents[1] / "static"
    flags = {"RUSTFLAGS": "-C target-feature=+crt-static", "CARGO_TARGET_DIR": str(target)}
    build = ["cargo", "build", "--quiet", "--release", "--locked", "--package", "millrace", "--target", host]
    subprocess.run(build, cwd=ROOT, env={**os.environ, **flags}, check=True)
    root = tmp_path / "root"
    (root / "data").mkdir(parents=True)
    os.chown(root / "data", 65532, 65532)
    # Every container has them; a static C library finds no other way to random bytes for the client library.
    (root / "dev").mkdir()
    for device, minor in (("random", 8), ("urandom", 9)):
        os.mknod(root / "dev" / device, stat.S_IFCHR, os.makedev(1, minor))
        os.chmod(root / "dev" / device, 0o666)
    shutil.copy(target / host / "release/millrace", root / "millrace")
    subprocess.run(["strip", root / "millrace"], check=True)
    kept = {"PATH": os.environ["PATH"], "MILLRACE_DATA_DIR": "/data"}
    words = ["chroot", "--userspec=65532:65532", root, "/millrace", "serve"]
    log = tmp_path / "log"
    server = Process([*words, "--kafka-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"], log, env=kept)
    try:
        told = until(lambda: endpoints(root / "data") or not server.alive(), "it serves", 60)
        assert server.alive(), log.read_text()
        with Load(told["kafka"][0]["address"], "t") as load:
            load.goes_on()
            load.finish()
        assert server.terminate() == 0
    finally:
        server.stop()
