"""Every documented way into Kafka works, and every way of being turned away says what to do, without a secret."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Topics, wait_until
from tests.support.commands import new_account, new_command
from tests.support.database import Databases
from tests.support.guarded_kafka import PASSWORD, Grant, GuardedKafka, worker_grants
from tests.support.kafka import all_answered, produce_commands, read_outcomes
from tests.support.worker import KEYS, WorkerProcess, clean_env
from worker.app.start import check_start
from worker.errors import PartUnavailableError
from worker.kafka.producer import Message, Producer, Unavailable
from worker.kafka.reader import open_reader
from worker.operate.doctor import examine
from worker.settings import Settings as WorkerSettings

RunCli = Callable[..., "subprocess.CompletedProcess[str]"]
Settings = dict[str, str]
WRONG = "not-the-password-at-all"


@pytest.fixture
def grants(applied_topics: Topics, worker_env: Settings) -> list[Grant]:
    """The worker's rights on this test's topics."""
    return worker_grants(applied_topics.env(), worker_env["LEDGER_KAFKA_GROUP_ID"])


@pytest.fixture
async def granted(guarded: GuardedKafka, grants: list[Grant]) -> None:
    await guarded.grant("worker", grants)


@pytest.fixture(scope="module")
def turned_away_env(databases: Databases, guarded: GuardedKafka) -> Iterator[Settings]:
    """Settings of a worker whose database is there and whose Kafka will not have it."""
    with databases.migrated() as url:
        yield clean_env(
            {
                "LEDGER_DATABASE_URL": url,
                "LEDGER_WHALE_BASE_URL": "http://127.0.0.1:1",
                "LEDGER_LOG_FORMAT": "json",
                **KEYS,
            }
        )


WAYS_IN: dict[str, Callable[[GuardedKafka], Settings]] = {
    "TLS": lambda kafka: kafka.tls(),
    "a client certificate": lambda kafka: kafka.mtls(),
    "PLAIN over TLS": lambda kafka: kafka.sasl("PLAIN"),
    "SCRAM-SHA-512 over TLS": lambda kafka: kafka.sasl("SCRAM-SHA-512"),
}


async def test_by_every_way_a_command_goes_to_its_outcome_and_doctor_finds_all_in_order(
    guarded: GuardedKafka,
    granted: None,
    worker_env: Settings,
    start_worker: Callable[..., WorkerProcess],
    kafka: str,
    applied_topics: Topics,
    subtests: pytest.Subtests,
) -> None:
    for way, make in WAYS_IN.items():
        with subtests.test(way):
            settings = make(guarded)
            command = new_command("cash.adjust", new_account())
            worker = await asyncio.to_thread(start_worker, settings=settings)
            await produce_commands(kafka, applied_topics, [command])
            await read_outcomes(kafka, applied_topics, all_answered([command]))
            checks = await examine(WorkerSettings.from_env({**worker_env, **settings}), ("database", "kafka"))
            assert [check for check in checks if not check.ok] == []
            assert "rights" in {check.name for check in checks}
            assert await asyncio.to_thread(worker.sigterm) == 0


def _client_certificate(kafka: GuardedKafka, **how: Any) -> Settings:
    path = kafka.client_certificate("worker", how.pop("authority", kafka.authority), **how)
    return {**kafka.tls("MTLS"), "LEDGER_KAFKA_SSL_CERTFILE": path, "LEDGER_KAFKA_SSL_KEYFILE": path}


TURNED_AWAY: dict[str, tuple[Callable[[GuardedKafka], Settings], str]] = {
    "a wrong password, PLAIN": (
        lambda kafka: kafka.sasl("PLAIN", password=WRONG),
        "refuses user worker or its password (PLAIN): correct LEDGER_KAFKA_SASL_USERNAME or LEDGER_KAFKA_SASL_PASSWORD",
    ),
    "a wrong password, SCRAM": (
        lambda kafka: kafka.sasl("SCRAM-SHA-512", password=WRONG),
        "refuses user worker or its password (SCRAM-SHA-512): correct LEDGER_KAFKA_SASL_USERNAME",
    ),
    "a mechanism that is not offered": (
        lambda kafka: kafka.sasl("SCRAM-SHA-256"),
        "does not take SCRAM-SHA-256: correct LEDGER_KAFKA_SASL_MECHANISM",
    ),
    "a wrong authority": (
        lambda kafka: kafka.tls(authority="stranger"),
        "is of an authority that is not trusted (unable to get local issuer certificate): set LEDGER_KAFKA_SSL_CAFILE",
    ),
    "an expired certificate": (lambda kafka: kafka.tls("EXPIRED"), "has expired: renew it there"),
    "a wrong host name": (
        lambda kafka: kafka.tls("ELSEWHERE"),
        "is for another name: give LEDGER_KAFKA_BOOTSTRAP_SERVERS a name that it holds",
    ),
    "no client certificate": (
        lambda kafka: kafka.tls("MTLS"),
        "asks for a client certificate (TLSV13_ALERT_CERTIFICATE_REQUIRED): set LEDGER_KAFKA_SSL_CERTFILE",
    ),
    "a client certificate of a stranger": (
        lambda kafka: _client_certificate(kafka, authority=kafka.stranger),
        "refuses the client certificate",
    ),
    "an expired client certificate": (
        lambda kafka: _client_certificate(kafka, expired=True),
        "the one in LEDGER_KAFKA_SSL_CERTFILE has expired",
    ),
    "no login where one is asked for": (
        lambda kafka: kafka.tls("SASL"),
        "cut the connection before it answered: correct LEDGER_KAFKA_SECURITY_PROTOCOL (it is SSL)",
    ),
    "a login where none is asked for": (
        lambda kafka: {**kafka.sasl("PLAIN"), "LEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka.kafka.at("TLS")},
        "asks for no login: correct LEDGER_KAFKA_SECURITY_PROTOCOL (it is SASL_SSL)",
    ),
    "no TLS where it is spoken": (
        lambda kafka: {"LEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka.kafka.at("TLS")},
        "cut the connection before it answered: correct LEDGER_KAFKA_SECURITY_PROTOCOL (it is PLAINTEXT)",
    ),
    "TLS where none is spoken": (
        lambda kafka: {**kafka.tls(), "LEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka.kafka.bootstrap},
        "cut the connection before it answered: correct LEDGER_KAFKA_SECURITY_PROTOCOL (it is SSL)",
    ),
}


@pytest.mark.parametrize("case", TURNED_AWAY)
async def test_whoever_is_turned_away_is_told_why_at_every_door(
    case: str, guarded: GuardedKafka, turned_away_env: Settings
) -> None:
    make, sentence = TURNED_AWAY[case]
    settings = WorkerSettings.from_env({**turned_away_env, **make(guarded)})
    with pytest.raises(PartUnavailableError) as start:
        await check_start(settings)
    with pytest.raises(PartUnavailableError) as follow:
        async with open_reader(settings, settings.topic_outcomes, from_beginning=True):
            pass
    (sent,) = await Producer(settings, 10).send([Message(settings.topic_outcomes, b"k", b"v")])
    (checked,) = [check for check in await examine(settings, ("kafka",)) if check.name == "kafka"]
    assert isinstance(sent, Unavailable)
    assert not checked.ok
    for told in (str(start.value), str(follow.value), sent.message, checked.says):
        assert sentence in told
        assert "\n" not in told
        assert WRONG not in told
        assert PASSWORD not in told


def test_a_command_that_is_turned_away_ends_with_one_line_and_no_secret(
    guarded: GuardedKafka, turned_away_env: Settings, run_cli: RunCli, subtests: pytest.Subtests
) -> None:
    env = {**turned_away_env, **guarded.sasl("SCRAM-SHA-512", password=WRONG)}
    for command in (("run",), ("tail", "--count", "1"), ("topics", "apply")):
        with subtests.test(" ".join(command)):
            done = run_cli(*command, env=env)
            assert done.returncode == 1
            assert "refuses user worker or its password" in done.stderr
            assert len(done.stderr.splitlines()) == 1
            assert WRONG not in done.stderr


def test_doctor_tells_a_refusal_in_one_line_of_its_own(
    guarded: GuardedKafka, turned_away_env: Settings, run_cli: RunCli
) -> None:
    done = run_cli("doctor", env={**turned_away_env, **guarded.sasl("PLAIN", password=WRONG)})
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("WRONG kafka ")]
    assert "refuses user worker or its password (PLAIN)" in line
    assert WRONG not in done.stdout + done.stderr


async def test_a_password_that_is_replaced_lets_the_worker_in_again_and_the_first_is_not_used_any_more(
    guarded: GuardedKafka,
    grants: list[Grant],
    worker_env: Settings,
    start_worker: Callable[..., WorkerProcess],
    kafka: str,
    applied_topics: Topics,
    tmp_path: Path,
) -> None:
    await guarded.grant("worker", grants)
    await guarded.grant("operator", grants)
    (user := tmp_path / "user").write_text("worker")
    settings = {**guarded.sasl("SCRAM-SHA-512"), "LEDGER_KAFKA_SASL_USERNAME": ""}
    worker = await asyncio.to_thread(start_worker, settings={**settings, "LEDGER_KAFKA_SASL_USERNAME_FILE": str(user)})
    commands = [new_command("cash.adjust", new_account()) for _ in range(2)]
    await produce_commands(kafka, applied_topics, commands[:1])
    await read_outcomes(kafka, applied_topics, all_answered(commands[:1]))
    user.write_text("operator")
    await asyncio.to_thread(wait_until, lambda: "secrets.renewed" in worker.log, 30, lambda: worker.log)
    await guarded.revoke("worker", grants)
    await produce_commands(kafka, applied_topics, commands[1:])
    await read_outcomes(kafka, applied_topics, all_answered(commands))
    await asyncio.to_thread(wait_until, worker.is_ready, 30, lambda: worker.get("/readyz")[1])
    assert await asyncio.to_thread(worker.sigterm) == 0
