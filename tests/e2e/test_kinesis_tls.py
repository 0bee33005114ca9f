"""HTTPS: boto3 over TLS, HTTP/1.1 and HTTP/2 by what both sides agree on, beside plain HTTP in one server."""

import contextlib
import shutil
import socket
import ssl
import subprocess

import pytest
from test_kinesis import client, create, read

pytestmark = pytest.mark.millrace

KEY = ("AKIDTLS", "secret")
#: The beginning of HTTP/2: the preface and empty settings.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
CONFIG = """[req]
distinguished_name = name
x509_extensions = own
[name]
[own]
subjectAltName = DNS:localhost, IP:127.0.0.1
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A certificate for localhost that is its own authority, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not here")
    home = tmp_path_factory.mktemp("tls")
    (home / "config").write_text(CONFIG)
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=localhost", "-config", home / "config", "-keyout", home / "key.pem", "-out", home / "cert.pem"]
    subprocess.run(made, check=True, capture_output=True)
    return home / "cert.pem", home / "key.pem"


@pytest.fixture
def server(start_millrace, tls):
    keys = f'[{{access_key_id = "{KEY[0]}", secret_env = "TLS_SECRET"}}]'
    return start_millrace(tls=tls, environment={"TLS_SECRET": KEY[1]}, **{"kinesis.credentials": keys})


def by_tls(server, tls, **more):
    more = {"aws_access_key_id": KEY[0], "aws_secret_access_key": KEY[1], **more}
    return client(server, endpoint_url=f"https://{server.https}", verify=str(tls[0]), **more)


def test_boto3_works_by_tls_and_without_at_once(server, tls, name):
    secure = by_tls(server, tls)
    plain = client(server, aws_access_key_id=KEY[0], aws_secret_access_key=KEY[1])
    create(secure, name)
    records = [{"Data": b"%03d" % n * 4000, "PartitionKey": "k"} for n in range(500)]
    assert secure.put_records(StreamName=name, Records=records)["FailedRecordCount"] == 0
    for reader in (secure, plain):
        assert [record["Data"] for record in read(reader, name)] == [record["Data"] for record in records]
    consumer = secure.register_stream_consumer(
        StreamARN=f"arn:aws:kinesis:eu-west-1:123456789012:stream/{name}", ConsumerName="c"
    )["Consumer"]["ConsumerARN"]
    events = secure.subscribe_to_shard(
        ConsumerARN=consumer, ShardId="shardId-000000000000", StartingPosition={"Type": "TRIM_HORIZON"}
    )["EventStream"]
    assert next(iter(events))["SubscribeToShardEvent"]["Records"][0]["Data"] == records[0]["Data"]
    events.close()


@contextlib.contextmanager
def agreed(server, tls, *protocols):
    """A TLS connection that offers these protocols."""
    context = ssl.create_default_context(cafile=tls[0])
    if protocols:
        context.set_alpn_protocols(list(protocols))
    host, port = server.https.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as plain, context.wrap_socket(plain, server_hostname="localhost") as secure:
        yield secure


def test_both_sides_agree_on_a_protocol(server, tls):
    for offered, chosen in ((["h2", "http/1.1"], "h2"), (["http/1.1", "h2"], "h2"), (["http/1.1"], "http/1.1"), ([], None)):
        with agreed(server, tls, *offered) as connection:
            assert connection.selected_alpn_protocol() == chosen and connection.version() in ("TLSv1.2", "TLSv1.3")
            if chosen == "h2":
                connection.sendall(PREFACE)
                assert connection.recv(9)[3] == 4, "a frame of settings"
            else:
                connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert connection.recv(15) == b"HTTP/1.1 200 OK"
    with pytest.raises(ssl.SSLError), agreed(server, tls, "smtp"):
        pass
    # HTTP/2 with prior knowledge goes on at the plain address.
    host, port = server.http.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as plain:
        plain.sendall(PREFACE)
        assert plain.recv(9)[3] == 4


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not here")
def test_curl_takes_http_2(server, tls):
    asked = ["curl", "--silent", "--http2", "--cacert", tls[0], "--write-out", "%{http_version} %{http_code}", f"https://{server.https}/healthz"]
    if "HTTP2" not in subprocess.run(["curl", "--version"], check=True, capture_output=True, text=True).stdout:
        pytest.skip("this curl has no HTTP/2")
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout == "ok\n2 200"


def test_those_who_do_not_shake_hands_hold_up_nobody(server, tls):
    host, port = server.https.split(":")
    with contextlib.ExitStack() as silent:
        for n in range(100):
            connection = silent.enter_context(socket.create_connection((host, int(port))))
            if n % 2:
                connection.sendall(b"\x16\x03\x01")
        assert by_tls(server, tls).list_streams()["StreamNames"] == []
        # They count as connections, and are cut when their time is over.
        assert server.metric("millrace_front_connections") >= 100
        connection.settimeout(30)
        assert connection.recv(1) == b""
