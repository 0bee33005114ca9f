"""Consumer groups: every family alone and together, rebalances, static members, cooperative assignors, offsets."""

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from harness.clients import FAMILIES
from harness.process import until

PARTITIONS = 4


@pytest.fixture
def members(broker, tmp_path):
    """Starts members of groups and ends them with the test."""
    started = []

    def start(family, topic, group, **options):
        out = tmp_path / f"{family}-{len(started)}.tsv"
        started.append(family.member(broker.bootstrap, topic, group, out, **options))
        return started[-1]

    yield start
    for member in started:
        member.stop()


def all_held(members, partitions=PARTITIONS) -> bool:
    """Every partition has one holder among these members, and each member has some."""
    held = [member.partitions() for member in members]
    assert all(member.alive() for member in members), [m.log.read_text()[-2000:] for m in members if not m.alive()]
    return all(held) and sorted(p for some in held for p in some) == list(range(partitions))


def share_all(*members, seconds: float = 45):
    until(lambda: all_held(members), "the members share all partitions", seconds)


def rows(librdkafka, broker, topic, first, count):
    """Produces `count` numbered records, spread over the partitions."""
    records = [{"key": f"k{n}", "value": str(n), "partition": n % PARTITIONS} for n in range(first, first + count)]
    librdkafka.produce(broker.bootstrap, topic, records)


def values(*members) -> set[int]:
    return {int(value) for member in members for _, _, _, value in member.rows()}


def committed(admin, group) -> dict[int, int]:
    answer = admin.client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
    return {p.partition: p.offset for p in answer.topic_partitions if p.offset >= 0}


def test_a_member_reads_commits_and_its_successor_goes_on(broker, admin, client, librdkafka, name, members):
    admin.create(name, partitions=PARTITIONS)
    rows(librdkafka, broker, name, 0, 100)
    first = members(client, name, name)
    until(lambda: values(first) == set(range(100)), "all is read")
    until(lambda: sum(committed(admin, name).values()) == 100, "all is committed")
    first.terminate()
    rows(librdkafka, broker, name, 100, 50)
    second = members(client, name, name)
    until(lambda: values(second) == set(range(100, 150)), "the rest is read, and only that")


def test_partitions_move_when_members_come_leave_and_die(broker, admin, client, name, members):
    admin.create(name, partitions=PARTITIONS)
    first = members(client, name, name)
    share_all(first)
    second = members(client, name, name)
    share_all(first, second)
    second.terminate()  # leaves: known at once
    share_all(first, seconds=10)
    third = members(client, name, name)
    share_all(first, third)
    third.kill()  # dies: known when its session times out
    share_all(first)


def test_a_group_of_all_families(broker, admin, librdkafka, name, members):
    """`range` is what all of them speak. One partition each."""
    families = [f for f in FAMILIES.values() if f.available() and "range" in f.assignors]
    admin.create(name, partitions=len(families))
    group = [members(family, name, name) for family in families]
    until(lambda: all_held(group, len(families)), "each has a partition", 90)
    records = [{"key": "k", "value": str(n), "partition": n % len(families)} for n in range(10 * len(families))]
    librdkafka.produce(broker.bootstrap, name, records)
    until(lambda: all(len(member.rows()) >= 10 for member in group), "each has read its partition")
    assert values(*group) == set(range(10 * len(families)))


def test_cooperative_rebalances_take_away_only_what_moves(broker, admin, client, name, members):
    if "cooperative-sticky" not in client.assignors:
        pytest.skip(f"{client} has no cooperative assignor")
    admin.create(name, partitions=PARTITIONS)
    first = members(client, name, name, assignor="cooperative-sticky")
    share_all(first)
    second = members(client, name, name, assignor="cooperative-sticky")
    share_all(first, second)
    revoked = [partitions for what, partitions in first.events() if what == "revoked" and partitions]
    assert [len(partitions) for partitions in revoked] == [PARTITIONS // 2], "all others stayed where they were"


def test_a_static_member_that_restarts_keeps_its_partitions_without_a_rebalance(broker, admin, client, name, members):
    if not client.static_members:
        pytest.skip(f"{client} has no static members")
    admin.create(name, partitions=PARTITIONS)
    options = {"session_ms": 30_000}
    stays, restarts = members(client, name, name, instance="a", **options), members(client, name, name, instance="b", **options)
    share_all(stays, restarts)
    before, told = restarts.partitions(), stays.events()
    restarts.kill()
    again = members(client, name, name, instance="b", **options)
    until(lambda: again.partitions() == before, "it has its partitions again")
    assert stays.events() == told, "the other member was left in peace"


def test_two_members_with_one_instance_id_fence_the_older(broker, admin, librdkafka, name, members):
    admin.create(name, partitions=PARTITIONS)
    config = {"bootstrap.servers": broker.bootstrap, "group.id": name, "group.instance.id": "i", "auto.offset.reset": "earliest"}
    older = Consumer(config)
    older.subscribe([name])
    until(lambda: older.poll(0.2) or older.assignment(), "the older has partitions")
    newer = Consumer(config)
    newer.subscribe([name])
    fenced = []

    def told():
        newer.poll(0.1)
        message = older.poll(0.1)
        if message is not None and message.error():
            fenced.append(message.error().code())
        return fenced

    until(told, "the older one is told")
    assert fenced[0] in (KafkaError.FENCED_INSTANCE_ID, KafkaError._FATAL)
    newer.close()
    older.close()


def consumer(broker, group, **more):
    return Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group, "enable.auto.commit": False, **more})


def test_offsets_are_committed_with_metadata_and_fetched_by_another(broker, admin, name):
    admin.create(name, partitions=2)
    first = consumer(broker, name)
    first.commit(offsets=[TopicPartition(name, 0, 42, "mark"), TopicPartition(name, 1, 0)], asynchronous=False)
    second = consumer(broker, name)
    zero, one = second.committed([TopicPartition(name, 0), TopicPartition(name, 1)], timeout=10)
    assert (zero.offset, zero.metadata, one.offset) == (42, "mark", 0)
    first.close()
    second.close()


def test_commits_to_unknown_topics_are_refused(broker, admin, name):
    one = consumer(broker, name)
    with pytest.raises(KafkaException) as raised:
        one.commit(offsets=[TopicPartition(name + "-none", 0, 1)], asynchronous=False)
    assert raised.value.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    one.close()


def test_a_reset_policy_without_committed_offsets(broker, admin, librdkafka, name):
    admin.create(name)
    librdkafka.produce(broker.bootstrap, name, [{"value": "old", "partition": 0}])
    earliest = consumer(broker, name + "-e", **{"auto.offset.reset": "earliest"})
    earliest.subscribe([name])
    assert until(lambda: earliest.poll(0.5), "earliest reads the old").value() == b"old"
    latest = consumer(broker, name + "-l", **{"auto.offset.reset": "latest"})
    latest.subscribe([name])

    def read_by_latest():
        librdkafka.produce(broker.bootstrap, name, [{"value": "new", "partition": 0}])
        return latest.poll(0.5)

    assert until(read_by_latest, "latest reads something").value() == b"new"
    earliest.close()
    latest.close()


def test_groups_are_listed_described_altered_and_deleted(broker, admin, librdkafka, name, members):
    admin.create(name, partitions=PARTITIONS)
    member = members(librdkafka, name, name)
    share_all(member)
    rows(librdkafka, broker, name, 0, 8)
    until(lambda: sum(committed(admin, name).values()) == 8, "all is committed")

    groups = admin.client
    assert name in {g.group_id for g in groups.list_consumer_groups().result(30).valid}
    described = groups.describe_consumer_groups([name])[name].result(30)
    assert described.state == ConsumerGroupState.STABLE
    assert described.partition_assignor == "range"
    [shown] = described.members
    assert {p.partition for p in shown.assignment.topic_partitions} == set(range(PARTITIONS))
    assert refused(groups.delete_consumer_groups([name])[name].result, 30) == KafkaError.NON_EMPTY_GROUP

    member.terminate()
    until(lambda: groups.describe_consumer_groups([name])[name].result(30).state == ConsumerGroupState.EMPTY, "the group is empty")
    wanted = ConsumerGroupTopicPartitions(name, [TopicPartition(name, 0, 1)])
    groups.alter_consumer_group_offsets([wanted])[name].result(30)
    assert committed(admin, name)[0] == 1
    groups.delete_consumer_groups([name])[name].result(30)
    assert committed(admin, name) == {}
    assert refused(groups.delete_consumer_groups([name])[name].result, 30) == KafkaError.GROUP_ID_NOT_FOUND


def refused(call, *args) -> int:
    with pytest.raises(KafkaException) as raised:
        call(*args)
    return raised.value.args[0].code()


def test_a_group_without_a_common_protocol_is_refused(broker, admin, librdkafka, name, members):
    admin.create(name, partitions=PARTITIONS)
    share_all(members(librdkafka, name, name, assignor="range"))
    other = consumer(broker, name, **{"partition.assignment.strategy": "roundrobin"})
    other.subscribe([name])
    errors = []

    def told():
        message = other.poll(0.2)
        if message is not None and message.error():
            errors.append(message.error().code())
        return errors

    until(told, "it is told")
    assert errors[0] == KafkaError.INCONSISTENT_GROUP_PROTOCOL
    other.close()


def test_fifty_members_settle(broker, admin, name):
    """A storm: all join at once, and the group settles with one partition each."""
    admin.create(name, partitions=50)
    storm = [consumer(broker, name, **{"session.timeout.ms": 30_000}) for _ in range(50)]
    for one in storm:
        one.subscribe([name])

    def settled():
        for one in storm:
            one.poll(0)
        return sorted(p.partition for one in storm for p in one.assignment()) == list(range(50))

    until(settled, "each has one partition", 90)
    for one in storm:
        one.close()
