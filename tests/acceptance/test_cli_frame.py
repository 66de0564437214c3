"""The command line as its users meet it: a process, its exit status, and what goes to stdout and to stderr."""

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.fuzz.commandline import run
from tests.support import Topics, create_topics, new_command, produce, read_records, wait_until
from tests.support.worker import CHECKOUT, KEYS, clean_env, run_worker_cli

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

SECRETS = ("an-app-secret", "an-access-token", "a-password", "a%20password")
ENV = {
    "LEDGER_DATABASE_URL": "postgresql://ledger:a-password@127.0.0.1:1/ledger",
    "LEDGER_WHALE_APP_KEY": "a-key",
    "LEDGER_WHALE_APP_SECRET": "an-app-secret",
    "LEDGER_WHALE_ACCESS_TOKEN": "an-access-token",
}
VECTORS = json.loads((CHECKOUT / "tests/contract/whale_signature_vectors.json").read_text())["vectors"]


def cli(*arguments: str, stdin: str | None = None, **settings: str) -> "subprocess.CompletedProcess[str]":
    return run_worker_cli(
        *arguments, env=clean_env({f"LEDGER_{k}": v for k, v in settings.items()}), stdin=stdin, fresh=True
    )


def commands_below(*path: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every command with its help text, found by asking the command line itself, in this process: there are sixty."""
    shown = run([*path, "--help"])
    assert shown.code == 0, shown.err
    _, has_commands, listed = shown.out.partition("\nCommands:\n")
    if not has_commands:
        yield path, shown.out
    for name in re.findall(r"(?m)^  ([a-z-]+)", listed):
        yield from commands_below(*path, name)


def one_line(done: "subprocess.CompletedProcess[str]", code: int) -> str:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_every_command_shows_an_example_of_itself() -> None:
    found = dict(commands_below())
    assert {("migrate",), ("send",), ("tail",), ("settings", "show"), ("whale", "sign")} <= found.keys()
    for path, text in found.items():
        assert f"ledger-worker {' '.join(path)}" in text.partition("Example")[2], f"{path} has no example in --help"


def test_help_does_not_wait_for_what_it_never_uses() -> None:
    heavy = "aiokafka", "alembic", "aiohttp", "faststream", "pydantic", "sqlalchemy", "structlog"
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "worker", "--help"],
        cwd=CHECKOUT,
        env=clean_env({}),
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert [name for name in heavy if re.search(rf"\| +{name}$", loaded, re.MULTILINE)] == []


@pytest.mark.parametrize(
    "arguments", [("no-such-command",), ("settings", "show", "--output", "xml"), ("whale", "sign"), ("send",)]
)
def test_a_typing_error_exits_2_and_leaves_stdout_alone(arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_missing_settings_are_one_line_that_names_them_all() -> None:
    line = one_line(cli("whale", "sign", "--method", "GET", "--path", "/"), 1)
    assert all(name in line for name in KEYS)
    assert "LEDGER_DATABASE_URL" not in line
    assert "LEDGER_KAFKA_BOOTSTRAP_SERVERS" in one_line(cli("tail"), 1)


def test_a_misspelt_variable_is_told_and_does_not_stop_anything() -> None:
    done = cli("settings", "show", WHALE_TIMOUT_S="3")
    assert done.returncode == 0
    assert "LEDGER_WHALE_TIMOUT_S" in done.stderr
    assert "TIMOUT" not in done.stdout


@pytest.mark.prints("settings show")
def test_settings_are_shown_with_their_secrets_masked(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("an-app-secret\n")
    env = {name: value for name, value in ENV.items() if name != "LEDGER_WHALE_APP_SECRET"}
    env |= {"LEDGER_WHALE_APP_SECRET_FILE": str(tmp_path / "secret"), "LEDGER_WHALE_TIMEOUT_S": "7"}
    for form in ("table", "json"):
        done = run_worker_cli("settings", "show", "--output", form, env=clean_env(env))
        assert done.returncode == 0
        assert not any(secret in done.stdout + done.stderr for secret in SECRETS)
    shown = {row["variable"]: row["value"] for row in json.loads(done.stdout)}
    assert shown["LEDGER_DATABASE_URL"] == "postgresql://ledger:******@127.0.0.1:1/ledger"
    assert shown["LEDGER_WHALE_APP_SECRET"] == shown["LEDGER_WHALE_ACCESS_TOKEN"] == "******"
    assert (shown["LEDGER_WHALE_TIMEOUT_S"], shown["LEDGER_KAFKA_BOOTSTRAP_SERVERS"]) == (7, None)


def test_contradictory_settings_are_refused_wherever_they_are_read() -> None:
    line = one_line(cli("settings", "show", LANE_LEASE_S="21"), 1)
    assert "LEDGER_LANE_LEASE_S" in line


def test_a_database_that_is_away_is_one_line_without_its_password() -> None:
    line = one_line(run_worker_cli("migrate", env=clean_env(ENV)), 1)
    assert "Postgres" in line
    assert "a-password" not in line


def test_a_kafka_that_is_away_is_one_line() -> None:
    assert "127.0.0.1:1" in one_line(cli("tail", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1"), 1).splitlines()[-1]


@pytest.mark.parametrize("vector", [VECTORS[1], VECTORS[-1]], ids=lambda vector: vector["name"])
@pytest.mark.prints("whale sign")
def test_signing_agrees_with_other_implementations(vector: dict[str, str], tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(vector["body"].encode())
    done = cli(
        *("whale", "sign", "--method", vector["method"], "--path", vector["path"], "--query", vector["query"]),
        *("--timestamp", vector["x_timestamp"], "--body", str(body)),
        WHALE_APP_KEY=vector["x_api_key"],
        WHALE_APP_SECRET=vector["app_secret"],
        WHALE_ACCESS_TOKEN=vector["access_token"],
    )
    shown = json.loads(done.stdout)
    assert shown["headers"]["X-Api-Signature"].endswith(f"Signature={vector['signature_hex']}")
    assert {"canonical_text", "string_to_sign"} <= shown.keys()
    assert vector["app_secret"] not in done.stdout + done.stderr


def test_exported_schemas_are_current_until_they_are_touched(tmp_path: Path) -> None:
    exported = cli("schemas", "export", str(tmp_path / "new"))
    files = [Path(line) for line in exported.stdout.splitlines()]
    assert all(json.loads(file.read_text()) for file in files)
    assert cli("schemas", "check", str(tmp_path / "new")).returncode == 0
    files[0].write_text("{}")
    checked = cli("schemas", "check", str(tmp_path / "new"))
    assert (checked.returncode, checked.stdout) == (1, f"{files[0].name}\n")


def test_migrating_again_changes_nothing_wherever_it_is_started(empty_database_url: str, tmp_path: Path) -> None:
    env = clean_env({"LEDGER_DATABASE_URL": empty_database_url})
    first = run_worker_cli("migrate", env=env)
    again = subprocess.run(
        [sys.executable, "-m", "worker", "migrate"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert first.stdout == again.stdout
    assert "already" in again.stderr


@pytest.fixture
def kafka_env(kafka: str, topics: Topics) -> dict[str, str]:
    """Settings over topics of this test's own, one partition each."""
    asyncio.run(create_topics(kafka, topics.names()))
    return clean_env({"LEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka, **topics.env()})


@pytest.mark.prints("topics plan", "topics apply", "topics verify")
def test_topics_are_planned_applied_and_verified(kafka: str, topics: Topics) -> None:
    env = clean_env({"LEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka, **topics.env()})

    def rows(*arguments: str, code: int) -> list[dict[str, str]]:
        done = run_worker_cli("topics", *arguments, "--output", "json", env=env)
        assert done.returncode == code, done.stderr
        return list(json.loads(done.stdout))

    planned = rows("plan", code=0)
    assert {row["topic"] for row in planned} == set(topics.names())
    assert rows("verify", code=1) == planned
    assert rows("apply", code=0) == planned
    assert rows("verify", code=0) == rows("plan", code=0) == rows("apply", code=0) == []


def test_partitions_are_added_only_after_draining_and_never_to_outcomes(
    topics: Topics, kafka_env: dict[str, str], database_url: str
) -> None:
    kafka_env |= {"LEDGER_DATABASE_URL": database_url, "LEDGER_ACTOR": "ann"}

    def apply(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return run_worker_cli("topics", "apply", *arguments, env=kafka_env)

    refused = one_line(apply(), 5)
    assert "--drained" in refused
    assert apply("--drained").returncode == 2
    assert "--yes" in one_line(apply("--drained", "--reason", "more accounts"), 5)
    done = apply("--drained", "--reason", "more accounts", "--yes")
    assert done.returncode == 4, done.stderr
    assert topics.adjustments in done.stdout
    assert topics.outcomes in one_line(apply(), 1)
    [noted] = json.loads(run_worker_cli("audit", "list", "--output", "json", env=kafka_env).stdout)
    assert (noted["actor"], noted["action"], noted["reason"]) == ("ann", "topics.apply", "more accounts")
    assert noted["after"][f"{topics.adjustments}: partitions"] == "12"


def lines_of(*commands: object) -> str:
    return "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in commands)


@pytest.mark.prints("send")
def test_commands_are_sent_in_their_places_with_their_keys(
    kafka: str, topics: Topics, kafka_env: dict[str, str], tmp_path: Path
) -> None:
    sent = [new_command("cash.adjust", "H1"), new_command("cash.freeze", "H2"), new_command("order.place", "H1")]
    file = tmp_path / "commands.jsonl"
    file.write_text(lines_of(sent[0], "", *sent[1:]).replace("\n", "\r\n"))
    done = run_worker_cli("send", str(file), env=kafka_env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "sent": 3,
        "of": 3,
        "topics": {topics.adjustments: 1, topics.freezes: 1, topics.orders: 1},
    }
    for one in sent:
        (record,) = asyncio.run(read_records(kafka, topics.for_type(one["type"]), bool))
        assert (record.key, record.value) == (one["account_no"].encode(), json.dumps(one).encode())


def test_a_file_with_a_wrong_line_is_refused_whole(kafka: str, topics: Topics, kafka_env: dict[str, str]) -> None:
    wrong = new_command("cash.adjust", "H1")
    wrong["payload"]["amount"] = 1000
    done = run_worker_cli(
        "send", "-", stdin=lines_of(new_command("cash.adjust", "H1"), wrong, "nonsense"), env=kafka_env
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"(?m)^line 2: FIELD_TYPE: payload\.amount", done.stderr)
    assert re.search(r"(?m)^line 3: MALFORMED", done.stderr)
    assert "line 1" not in done.stderr
    assert asyncio.run(end_of(kafka, topics.adjustments)) == 0


def test_unchecked_lines_are_sent_as_they_are(kafka: str, topics: Topics, kafka_env: dict[str, str]) -> None:
    wrong = {"type": "order.place", "account_no": "H9", "amount": 1e400}
    done = run_worker_cli("send", "-", "--unchecked", stdin=lines_of("nonsense", wrong), env=kafka_env)
    assert done.returncode == 0, done.stderr
    (record,) = asyncio.run(read_records(kafka, topics.adjustments, bool))
    assert (record.key, record.value) == (None, b"nonsense")
    (record,) = asyncio.run(read_records(kafka, topics.orders, bool))
    assert (record.key, record.value) == (b"H9", json.dumps(wrong).encode())


def test_a_topic_that_does_not_exist_is_named_and_not_created(kafka: str, topics: Topics) -> None:
    env = clean_env({"LEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka, **topics.env()})
    for arguments in (("tail",), ("send", "-")):
        done = run_worker_cli(*arguments, stdin=lines_of(new_command("cash.adjust", "H1")), env=env)
        assert done.returncode == 1
        assert "topics apply" in done.stderr.splitlines()[-1]


def test_tail_prints_outcomes_byte_for_byte_and_ends_when_told(
    kafka: str, topics: Topics, kafka_env: dict[str, str]
) -> None:
    values = [(account, f'{{"n": {n}, "text": "ü"}}'.encode()) for n, account in enumerate(("H1", "H2", "H1"))]
    asyncio.run(produce(kafka, [(topics.outcomes, account.encode(), value, ()) for account, value in values]))

    def tail(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return run_worker_cli("tail", *arguments, "--until-idle", "0.5", env=kafka_env)

    everything = tail("--from-beginning")
    assert everything.stdout.encode() == b"".join(value + b"\n" for _, value in values)
    assert everything.returncode == 0
    assert tail("--from-beginning", "--account", "H2").stdout.encode() == values[1][1] + b"\n"
    assert tail("--from-beginning", "--count", "2").stdout.count("\n") == 2
    assert tail("--from-beginning", "--count", "4").returncode == 4
    assert tail("--count", "1").returncode == 3
    assert tail().stdout == ""


def test_tail_follows_from_now_and_ctrl_c_ends_it_quietly(
    kafka: str, topics: Topics, kafka_env: dict[str, str], tmp_path: Path
) -> None:
    asyncio.run(produce(kafka, [(topics.outcomes, b"H1", b"before", ())]))
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        following = subprocess.Popen(
            [sys.executable, "-m", "worker", "tail"],
            cwd=CHECKOUT,
            env=kafka_env,
            stdout=stdout,
            stderr=stderr,
            # a shell's background job, as tests may be, hands on that Ctrl-C is ignored
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
    try:
        wait_until(lambda: "following" in err.read_text(), 30)
        asyncio.run(produce(kafka, [(topics.outcomes, b"H1", b"after", ())]))
        wait_until(lambda: out.read_text() == "after\n", 30)
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 130
        assert "Traceback" not in err.read_text()
    finally:
        following.kill()
        following.wait()


async def end_of(bootstrap: str, topic: str) -> int:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        return int((await consumer.end_offsets([TopicPartition(topic, 0)]))[TopicPartition(topic, 0)])
