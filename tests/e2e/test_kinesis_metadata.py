"""What is set of streams and of the account through boto3: shown, kept over a restart, and refused in AWS's words."""

import json

import pytest
from test_kinesis import client, create, error

pytestmark = pytest.mark.millrace


@pytest.fixture
def kinesis(broker):
    return client(broker)


def arn_of(name):
    return f"arn:aws:kinesis:eu-west-1:123456789012:stream/{name}"


def summary(kinesis, name):
    return kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]


def policy(arn):
    statement = {"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": ["kinesis:GetRecords"], "Resource": arn}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=1)


def test_what_is_set_is_kept_over_a_restart(own_broker, name):
    kinesis, arn = client(own_broker), arn_of(name)
    create(kinesis, name)
    assert kinesis.describe_account_settings()["MinimumThroughputBillingCommitment"] == {"Status": "DISABLED"}
    enabled = {"Status": "ENABLED"}
    committed = kinesis.update_account_settings(MinimumThroughputBillingCommitment=enabled)["MinimumThroughputBillingCommitment"]
    assert committed["Status"] == "ENABLED" and committed["StartedAt"] < committed["EarliestAllowedEndAt"]
    kinesis.put_resource_policy(ResourceARN=arn, Policy=policy(arn))
    metrics = ["IncomingBytes", "OutgoingBytes"]
    monitoring = kinesis.enable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=metrics)
    assert (monitoring["CurrentShardLevelMetrics"], monitoring["DesiredShardLevelMetrics"]) == ([], metrics)
    kinesis.update_stream_mode(StreamARN=arn, StreamModeDetails={"StreamMode": "ON_DEMAND"})
    warm = kinesis.update_stream_warm_throughput(StreamARN=arn, WarmThroughputMiBps=100)
    assert (warm["StreamName"], warm["WarmThroughput"]) == (name, {"TargetMiBps": 100, "CurrentMiBps": 100})
    kinesis.update_max_record_size(StreamARN=arn, MaxRecordSizeInKiB=2048)
    kinesis.update_stream_record_distribution_strategy(StreamARN=arn, RecordDistributionStrategy="AUTO")
    kinesis.tag_resource(ResourceARN=arn, Tags={"team": "a"})
    before = summary(kinesis, name)

    own_broker.restart()
    kinesis = client(own_broker)
    after = summary(kinesis, name)
    assert after == before
    assert after["StreamModeDetails"] == {"StreamMode": "ON_DEMAND"}
    assert after["EnhancedMonitoring"] == [{"ShardLevelMetrics": metrics}]
    assert after["WarmThroughput"] == {"TargetMiBps": 100, "CurrentMiBps": 100}
    assert (after["MaxRecordSizeInKiB"], after["RecordDistributionStrategy"]) == (2048, "AUTO")
    assert kinesis.get_resource_policy(ResourceARN=arn)["Policy"] == policy(arn)
    assert kinesis.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
    assert kinesis.describe_account_settings()["MinimumThroughputBillingCommitment"] == committed
    # What was set is also what holds: no key is needed, and the record is above 1 MiB.
    kinesis.put_record(StreamName=name, Data=b"x" * 1_500_000)
    kinesis.delete_resource_policy(ResourceARN=arn)
    assert kinesis.get_resource_policy(ResourceARN=arn)["Policy"] == "{}"


def test_every_metric_is_named(kinesis, name):
    create(kinesis, name)
    asked = kinesis.enable_enhanced_monitoring(StreamName=name, ShardLevelMetrics=["ALL"])
    assert len(asked["DesiredShardLevelMetrics"]) == 7 and asked["StreamARN"] == arn_of(name)
    assert summary(kinesis, name)["EnhancedMonitoring"] == [{"ShardLevelMetrics": asked["DesiredShardLevelMetrics"]}]
    left = kinesis.disable_enhanced_monitoring(StreamARN=arn_of(name), ShardLevelMetrics=["ALL"])
    assert (len(left["CurrentShardLevelMetrics"]), left["DesiredShardLevelMetrics"]) == (7, [])


def test_refusals_are_awss(kinesis, name):
    create(kinesis, name)
    arn = arn_of(name)
    assert error(kinesis.get_resource_policy, ResourceARN=arn + "x") == (
        "ResourceNotFoundException",
        f"Stream {arn}x under account 123456789012 not found.",
    )
    assert error(kinesis.delete_resource_policy, ResourceARN=arn) == (
        "ResourceNotFoundException",
        f"No resource policy found for resource ARN {arn}.",
    )
    assert error(kinesis.put_resource_policy, ResourceARN=arn, Policy="{")[0] == "InvalidArgumentException"
    assert error(kinesis.update_stream_warm_throughput, StreamARN=arn, WarmThroughputMiBps=1) == (
        "ValidationException",
        f"Request is invalid. Stream {name} under account 123456789012 is in Provisioned mode.",
    )
    auto = {"StreamARN": arn, "RecordDistributionStrategy": "AUTO"}
    assert error(kinesis.update_stream_record_distribution_strategy, **auto)[0] == "InvalidArgumentException"
    assert error(kinesis.update_max_record_size, StreamARN=arn, MaxRecordSizeInKiB=10241) == (
        "ValidationException",
        "1 validation error detected: Value '10241' at 'maxRecordSizeInKiB' failed to satisfy constraint: Member must have value less "
        "than or equal to 10240",
    )
    assert error(kinesis.enable_enhanced_monitoring, StreamName=name, ShardLevelMetrics=[])[0] == "ValidationException"
    assert error(kinesis.update_stream_mode, StreamARN=arn_of("none"), StreamModeDetails={"StreamMode": "ON_DEMAND"}) == (
        "ResourceNotFoundException",
        "Stream none under account 123456789012 not found.",
    )
