"""Signatures: boto3's and botocore's, right and wrong, against a server that knows two access keys."""

import datetime
import gzip
import hashlib
import http.client
import json

import botocore.auth
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from harness.kinesis import SDKS, packed, unpacked
from test_kinesis import client, create, error, iterator, read

pytestmark = pytest.mark.millrace

FIRST = ("AKIDFIRST", "first/secret+key")
SECOND = ("AKIDSECOND", "second")
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and "
    "signing method. Consult the service documentation for details."
)
HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "Kinesis_20131202.ListStreams"}


@pytest.fixture
def server(start_millrace, tmp_path):
    """Knows one key by a file and one by a variable."""
    secret = tmp_path / "secret"
    secret.write_text(FIRST[1] + "\n")
    keys = (
        f'[{{access_key_id = "{FIRST[0]}", secret_file = "{secret}"}}, '
        f'{{access_key_id = "{SECOND[0]}", secret_env = "SECOND_SECRET"}}]'
    )
    return start_millrace(environment={"SECOND_SECRET": SECOND[1]}, **{"kinesis.credentials": keys})


def as_key(server, key, secret, **more):
    return client(server, aws_access_key_id=key, aws_secret_access_key=secret, **more)


def test_both_keys_do_everything(server, name):
    first, second = as_key(server, *FIRST), as_key(server, *SECOND)
    create(first, name)
    records = [{"Data": b"%03d" % n * 4000, "PartitionKey": "k"} for n in range(500)]
    assert second.put_records(StreamName=name, Records=records)["FailedRecordCount"] == 0
    assert [record["Data"][:3] for record in read(first, name)] == [b"%03d" % n for n in range(500)]
    consumer = first.register_stream_consumer(
        StreamARN=f"arn:aws:kinesis:eu-west-1:123456789012:stream/{name}", ConsumerName="c"
    )["Consumer"]["ConsumerARN"]
    position = {"Type": "TRIM_HORIZON"}
    events = second.subscribe_to_shard(ConsumerARN=consumer, ShardId="shardId-000000000000", StartingPosition=position)
    assert next(iter(events["EventStream"]))["SubscribeToShardEvent"]["Records"][0]["Data"][:3] == b"000"
    events["EventStream"].close()


def test_others_are_refused_in_awss_words(server):
    wrong = as_key(server, FIRST[0], "guess")
    assert error(wrong.list_streams) == ("InvalidSignatureException", MISMATCH)
    for key, secret in ((SECOND[0], FIRST[1]), (FIRST[0], SECOND[1]), (FIRST[0], FIRST[1] + "\n")):
        assert error(as_key(server, key, secret).list_streams) == ("InvalidSignatureException", MISMATCH)
    unknown = ("UnrecognizedClientException", "The security token included in the request is invalid.")
    assert error(as_key(server, "AKIDTHIRD", FIRST[1]).list_streams) == unknown
    assert error(as_key(server, *FIRST, aws_session_token="lent").list_streams) == unknown
    unsigned = as_key(server, *FIRST, config=Config(signature_version=UNSIGNED))
    assert error(unsigned.list_streams) == ("MissingAuthenticationTokenException", "Missing Authentication Token")
    # What they may not do they have not done, large bodies too.
    records = [{"Data": b"x" * 10_000, "PartitionKey": "k"} for n in range(500)]
    assert error(wrong.put_records, StreamName="s", Records=records) == ("InvalidSignatureException", MISMATCH)
    assert error(as_key(server, "AKIDTHIRD", "x").put_records, StreamName="s", Records=records) == unknown
    assert as_key(server, *FIRST).list_streams()["StreamNames"] == []
    assert server.metric("millrace_front_requests_total") >= 9


@pytest.mark.parametrize("minutes, said", [(-6, "Signature expired: {at} is now earlier than"), (6, "Signature not yet current: {at} is still later than")])
def test_a_wrong_clock_is_told(server, monkeypatch, minutes, said):
    right = botocore.auth.get_current_datetime
    kinesis = as_key(server, *FIRST)
    kinesis.list_streams()
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: right() + datetime.timedelta(minutes=minutes))
    at = botocore.auth.get_current_datetime().strftime("%Y%m%dT%H%M")
    code, message = error(kinesis.list_streams)
    assert code == "InvalidSignatureException" and message.startswith(said.split("{at}")[0] + at[:11])
    assert said.split("{at}")[1] in message and "5 min.)" in message
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: right() + datetime.timedelta(minutes=minutes * 2 / 3))
    kinesis.list_streams()


def post(server, path, body, headers):
    connection = http.client.HTTPConnection(server.http, timeout=30)
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    return answer.status, said.get("__type")


def signed(server, body, auth=SigV4Auth, **headers):
    request = AWSRequest("POST", f"http://{server.http}/", {**HEADERS, **headers}, body)
    auth(Credentials(*FIRST), "kinesis", "eu-west-1").add_auth(request)
    return dict(request.headers)


def test_what_is_changed_on_the_way_is_refused(server):
    headers = signed(server, b"{}")
    assert post(server, "/", b"{}", headers) == (200, None)
    mismatch = (400, "InvalidSignatureException")
    assert post(server, "/", b"{ }", headers) == mismatch
    assert post(server, "/?a=b", b"{}", headers) == mismatch
    assert post(server, "/", b"{}", {**headers, "X-Amz-Target": "Kinesis_20131202.DeleteStream"}) == mismatch
    assert post(server, "/", b"{}", {**headers, "User-Agent": "not signed"}) == (200, None)
    assert post(server, "/", b"{}", {**headers, "Host": "elsewhere"}) == mismatch
    assert post(server, "/", b"{}", {**headers, "Authorization": "AWS4-HMAC-SHA256 x"}) == (400, "IncompleteSignatureException")
    assert post(server, "/", b"{}", {**headers, "Authorization": "Bearer x"}) == (400, "MissingAuthenticationTokenException")


def test_bodies_are_signed_as_they_are_sent(server):
    packed = gzip.compress(b"{}")
    assert post(server, "/", packed, signed(server, packed, **{"Content-Encoding": "gzip"})) == (200, None)
    digest = hashlib.sha256(b"{}").hexdigest()
    assert post(server, "/", b"{}", signed(server, b"{}", **{"X-Amz-Content-SHA256": digest})) == (200, None)
    headers = signed(server, b"{}", **{"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    assert post(server, "/", b'{"Limit": 1}', headers) == (200, None)


class Presigned(SigV4QueryAuth):
    """With a body, which botocore would move into the query."""

    def payload(self, request):
        return hashlib.sha256(b"{}").hexdigest()


def test_presigned_requests_are_good_for_their_time(server, monkeypatch):
    def path(expires):
        request = AWSRequest("POST", f"http://{server.http}/", HEADERS)
        Presigned(Credentials(*FIRST), "kinesis", "eu-west-1", expires=expires).add_auth(request)
        return request.url.removeprefix(f"http://{server.http}")

    assert post(server, path(60), b"{}", HEADERS) == (200, None)
    assert post(server, path(60), b"{ }", HEADERS) == (400, "InvalidSignatureException")
    now = datetime.datetime.now(datetime.timezone.utc)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now - datetime.timedelta(minutes=10))
    assert post(server, path(3600), b"{}", HEADERS) == (200, None)
    assert post(server, path(300), b"{}", HEADERS) == (400, "InvalidSignatureException")


def test_without_keys_any_are_taken(broker, name):
    kinesis = client(broker, aws_access_key_id="whoever", aws_secret_access_key="whatever")
    create(kinesis, name)
    assert read(kinesis, name) == [] and iterator(kinesis, name)


@pytest.mark.parametrize("sdk", SDKS)
def test_what_every_sdk_signs_is_verified(start_millrace, sdk, name):
    """Over HTTP/1.1 and HTTP/2, in JSON and CBOR: their programs sign by the key "key" and the secret "secret"."""
    sdk = SDKS[sdk]
    if not sdk.available():
        pytest.skip(f"{sdk} is not set up: see tests/setup")
    keys = {"kinesis.credentials": '[{access_key_id = "key", secret_env = "THE_SECRET"}]'}
    with sdk.session(start_millrace(environment={"THE_SECRET": "secret"}, **keys).http) as session:
        session.call("create", stream=name, shards=1)
        session.call("put", stream=name, key="k", data=packed(b"one"))
        rows = [{"key": "k", "data": packed(b"%d" % n * 1000)} for n in range(100)]
        assert session.call("put_many", stream=name, records=rows)["failed"] == 0
        found = session.call("read", stream=name, shard="shardId-000000000000", type="TRIM_HORIZON")["records"]
        assert [unpacked(record["data"])[:3] for record in found[:2]] == [b"one", b"000"] and len(found) == 101
    with sdk.session(start_millrace(environment={"THE_SECRET": "another"}, **keys).http) as session:
        refused = session.ask("put", stream=name, key="k", data=packed(b"one"))
        assert refused == {"error": "InvalidSignatureException", "message": MISMATCH}
