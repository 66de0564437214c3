"""On Kafka's own authorizer: the documented rights are enough, and without any one of them it is said which is missing."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from functools import partial

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAuthorizationFailedError, for_code
from aiokafka.structs import TopicPartition
from typer.testing import CliRunner

from tests.support import Topics, wait_until
from tests.support.commands import new_account, new_command
from tests.support.guarded_kafka import GROUP, Grant, GuardedKafka, worker_grants
from tests.support.kafka import all_answered, produce, produce_commands, read_outcomes, read_records
from tests.support.worker import WorkerProcess
from worker.app.start import check_start
from worker.cli.app import build
from worker.errors import RightMissingError
from worker.kafka.security import client_options
from worker.operate.doctor import examine
from worker.settings import Settings as WorkerSettings

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]
Settings = dict[str, str]
DOES = {"READ": "read", "WRITE": "write to", "DESCRIBE_CONFIGS": "read the settings of"}


def sentence(grant: Grant) -> str:
    what = "group" if grant.kind == GROUP else "topic"
    return f"this user is not allowed to {DOES[grant.operation]} {what} {grant.name}: grant {grant.operation} on it"


@pytest.fixture
def env(guarded: GuardedKafka, worker_env: Settings) -> Settings:
    """The worker's own settings: a user with a password, and nothing granted yet."""
    return {**worker_env, **guarded.sasl("SCRAM-SHA-512")}


@pytest.fixture
def grants(applied_topics: Topics, env: Settings) -> list[Grant]:
    return worker_grants(applied_topics.env(), env["LEDGER_KAFKA_GROUP_ID"])


@pytest.fixture
async def granted(guarded: GuardedKafka, grants: list[Grant]) -> None:
    await guarded.grant("worker", grants)


async def test_exactly_these_rights_are_enough_and_each_that_is_taken_away_is_named_at_the_start_and_by_doctor(
    guarded: GuardedKafka,
    grants: list[Grant],
    granted: None,
    env: Settings,
    kafka: str,
    applied_topics: Topics,
    start_worker: Callable[..., WorkerProcess],
    run_cli: RunCli,
    subtests: pytest.Subtests,
) -> None:
    account = new_account()
    command = new_command("cash.adjust", account)
    worker = await asyncio.to_thread(start_worker, settings=env)
    await produce(kafka, [(applied_topics.orders, b"k", b"not a command", ())])
    await produce_commands(kafka, applied_topics, [command])
    await read_outcomes(kafka, applied_topics, all_answered([command]))
    held = await asyncio.to_thread(run_cli, "accounts", "hold", account, "--reason", "a test", "--yes")
    assert held.returncode == 0, held.stderr
    await read_records(kafka, applied_topics.dead_letters, bool)
    await read_records(kafka, applied_topics.audit, bool)
    assert await asyncio.to_thread(worker.sigterm) == 0
    settings = WorkerSettings.from_env(env)
    await check_start(settings)
    for grant in grants:
        with subtests.test(str(grant).replace(applied_topics.audit.removesuffix("audit"), "")):
            await guarded.revoke("worker", [grant])
            with pytest.raises(RightMissingError) as refusal:
                await check_start(settings)
            assert sentence(grant) in str(refusal.value)
            assert "does not exist" not in str(refusal.value)
            checks = {check.name: check for check in await examine(settings, ("kafka",))}
            assert sentence(grant) in checks["rights"].says
            assert "does not exist" not in checks["topics"].says
            await guarded.grant("worker", [grant])
    await check_start(settings)
    operator = {**env, **guarded.sasl("PLAIN", "operator")}
    reads = [Grant("READ", topic) for topic in (applied_topics.dead_letters, applied_topics.audit)]
    for command, needed in (
        ("topics adopt", [Grant("READ", topic) for topic in settings.command_topics]),
        ("recover", [*grants, *reads]),
    ):
        with subtests.test(command):
            arguments = (*command.split(), "--reason", "a test", "--yes")
            without = await asyncio.to_thread(run_cli, *arguments, env=operator)
            assert (without.returncode, "not allowed" in without.stderr) == (1, True), without.stderr
            await guarded.grant("operator", needed)
            done = await asyncio.to_thread(run_cli, *arguments, env=operator)
            assert done.returncode == 3, done.stderr
            await guarded.revoke("operator", needed)


async def test_what_is_taken_away_under_a_running_worker_is_named_by_readyz_and_work_goes_on_when_it_is_given_back(
    guarded: GuardedKafka,
    granted: None,
    env: Settings,
    kafka: str,
    applied_topics: Topics,
    start_worker: Callable[..., WorkerProcess],
    subtests: pytest.Subtests,
) -> None:
    worker = await asyncio.to_thread(start_worker, settings=env)
    taken = [
        Grant("READ", applied_topics.adjustments),
        Grant("WRITE", applied_topics.outcomes),
        Grant("READ", env["LEDGER_KAFKA_GROUP_ID"], GROUP),
    ]
    commands = [new_command("cash.adjust", new_account()) for _ in taken]
    for grant, command in zip(taken, commands, strict=True):
        with subtests.test(str(grant).replace(applied_topics.audit.removesuffix("audit"), "")):
            await guarded.revoke("worker", [grant])
            await produce_commands(kafka, applied_topics, [command])
            await asyncio.to_thread(wait_until, partial(_names, worker, grant), 30, lambda: worker.get("/readyz")[1])
            await guarded.grant("worker", [grant])
            await read_outcomes(kafka, applied_topics, all_answered([command]))
            await asyncio.to_thread(wait_until, worker.is_ready, 30, lambda: worker.get("/readyz")[1])
    assert await asyncio.to_thread(worker.sigterm) == 0


def _names(worker: WorkerProcess, grant: Grant) -> bool:
    status, said = worker.get("/readyz")
    return status == 503 and sentence(grant) in said and "missing topics" not in said


async def test_the_worker_can_only_append_to_the_audit_topic(
    guarded: GuardedKafka, granted: None, env: Settings, kafka: str, applied_topics: Topics
) -> None:
    await produce(kafka, [(applied_topics.audit, b"k", b"v", ())])
    options = client_options(WorkerSettings.from_env(env))
    place = TopicPartition(applied_topics.audit, 0)
    refused = TopicAuthorizationFailedError
    async with AIOKafkaConsumer(**options, group_id=None) as consumer:
        consumer.assign([place])
        consumer.seek(place, 0)
        with pytest.raises(refused):
            await consumer.getone()
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    try:
        with pytest.raises(refused):
            await admin.delete_records({place: RecordsToDelete(1)})
        with pytest.raises(refused):
            await admin.create_partitions({applied_topics.audit: NewPartitions(2)})
        ((_, code),) = (await admin.delete_topics([applied_topics.audit])).topic_error_codes
        assert for_code(code) is refused
        changed = ConfigResource(ConfigResourceType.TOPIC, applied_topics.audit, {"retention.ms": "1"})
        (answer,) = await admin.alter_configs([changed])
        assert for_code(answer.resources[0][0]) is refused
    finally:
        await admin.close()
    assert [record.value for record in await read_records(kafka, applied_topics.audit, bool)] == [b"v"]


def operators_grants(topics: Topics) -> dict[str, list[Grant]]:
    """What docs/security-kafka.md grants whoever types these commands."""
    commands = (topics.adjustments, topics.freezes, topics.orders)
    apply = [Grant(right, topic) for topic in topics.names() for right in ("CREATE", "ALTER", "ALTER_CONFIGS")]
    verify = [Grant(right, topic) for topic in topics.names() for right in ("DESCRIBE", "DESCRIBE_CONFIGS")]
    return {
        "topics apply": apply,
        "topics verify": verify,
        "send -": [Grant("WRITE", topic) for topic in commands],
        "tail --from-beginning --until-idle 0.2": [Grant("READ", topics.outcomes)],
        f"replay plan --topic {topics.adjustments}": [Grant("READ", topics.adjustments)],
        f"pause --topic {topics.orders} --partition 0 --reason r --yes": [Grant("DESCRIBE", topics.orders)],
        "audit verify": [Grant("READ", topics.audit)],
    }


def test_each_operators_command_does_with_its_documented_rights_and_says_which_is_missing_without(
    guarded: GuardedKafka,
    worker_env: Settings,
    topics: Topics,
    subtests: pytest.Subtests,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.cli.frame._hush_logs", lambda _: None)  # this process keeps its logs
    env = {**worker_env, **guarded.sasl("PLAIN", "operator")}
    line = json.dumps(new_command("cash.adjust", new_account()))
    for command, grants in operators_grants(topics).items():
        with subtests.test(command.partition(" -")[0]):
            without = CliRunner().invoke(build(), command.split(), env=env, input=line)
            assert isinstance(without.exception, RightMissingError), without.output
            assert "grant" in str(without.exception)
            asyncio.run(guarded.grant("operator", grants))
            done = CliRunner().invoke(build(), command.split(), env=env, input=line)
            assert done.exit_code == 0, (done.output, done.exception)
            asyncio.run(guarded.revoke("operator", grants))
