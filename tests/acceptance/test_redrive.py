"""Dead letters put back through a real worker: in their sequence, none twice, whoever is killed or comes beside."""

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command, wait_until
from tests.support.raw_records import headers_of, read_raw
from tests.support.upstream import Json, Upstream, about, gaps
from tests.support.worker import CHECKOUT
from worker.ledger.commands import Malformed
from worker.ledger.records import RawRecord
from worker.pipeline.accept import accept_options, topic_types
from worker.pipeline.check import check
from worker.settings import Settings
from worker.store.engine import opened, transaction
from worker.store.inbox import Judged, store_batch

pytestmark = pytest.mark.timeout(300)  # a dozen processes are started, one after the other

COUNT = 1000
ACCOUNTS = 20
FAST = QUICK | {"LEDGER_WHALE_RATE_PER_S": "5000", "LEDGER_WHALE_TIMEOUT_S": "8", "LEDGER_LANE_LEASE_S": "20"}
WHY = ("--reason", "mended", "--yes")
RunCli = Callable[..., "subprocess.CompletedProcess[str]"]


def rows(env: dict[str, str], statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(env["LEDGER_DATABASE_URL"]) as connection:
        return connection.execute(statement).fetchall()


async def store_as_before(env: dict[str, str], records: list[tuple[RawRecord, bool]]) -> None:
    """Store records as an earlier release did, whose database refused some of them."""
    settings = Settings.from_env(env | {"LEDGER_REFUSALS_IN_ROW_MAX": "100000"}, needs=("database",))
    topics, options = topic_types(settings), accept_options(settings)
    by_place: dict[tuple[str, int], list[Judged]] = defaultdict(list)
    for record, refused_then in records:
        judged = Malformed("QUARANTINED", "Postgres refused it") if refused_then else check(record, topics)
        by_place[record.topic, record.partition].append((record, judged))
    async with opened(env["LEDGER_DATABASE_URL"]) as engine:
        for place, batch in by_place.items():
            async with transaction(engine) as connection:
                await store_batch(connection, batch, {place: 0}, options)


def killed_half_way(env: dict[str, str], *arguments: str) -> None:
    """Run a redrive and kill it when some, and not all, is done."""
    done = len(rows(env, "SELECT 1 FROM redrives"))
    process = subprocess.Popen([sys.executable, "-m", "worker", *arguments], cwd=CHECKOUT, env=env)
    try:
        wait_until(lambda: len(rows(env, "SELECT 1 FROM redrives")) > done + COUNT // 5, 90)
    finally:
        process.kill()
        process.wait()
    assert len(rows(env, "SELECT 1 FROM redrives")) < done + COUNT


def two_at_once(env: dict[str, str], *arguments: str) -> set[int]:
    argv = [sys.executable, "-m", "worker", *arguments]
    both = [subprocess.Popen(argv, cwd=CHECKOUT, env=env, stdout=subprocess.DEVNULL) for _ in range(2)]
    return {one.wait(120) for one in both}


def test_a_thousand_quarantined_and_a_thousand_edited_are_each_taken_once_in_their_sequence(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    worker_env: dict[str, str],
    tmp_path: Path,
) -> None:
    accounts = [new_account() for _ in range(ACCOUNTS)]
    sent: list[Json] = []
    for n in range(COUNT):
        account_no = accounts[n % ACCOUNTS]
        sent.append(new_command("cash.adjust", account_no, {"amount": f"{n + 1}.00"}))
        sent.append(new_command("cash.adjust", account_no, {"amount": n + 1}))  # a number: refused
    written = upstream.send(*sent)
    stored = [
        (
            RawRecord(at.topic, at.partition, at.offset, 0, one["account_no"].encode(), json.dumps(one).encode()),
            n % 2 == 0,
        )
        for n, (one, at) in enumerate(zip(sent, written, strict=True))
    ]
    asyncio.run(store_as_before(worker_env, stored))
    worker = start_worker(settings=FAST)

    [[fingerprint]] = rows(worker_env, "SELECT DISTINCT fingerprint FROM dead_letters WHERE reason = 'QUARANTINED'")
    redrive = ("dead-letters", "redrive", "--fingerprint", fingerprint, *WHY)
    killed_half_way(worker_env, *redrive, "--rate", "400")
    assert two_at_once(worker_env, *redrive) <= {0, 3}

    edits = tmp_path / "edits.jsonl"
    refused = rows(
        worker_env,
        'SELECT dead_letter_id, r.value FROM dead_letters d JOIN records r USING (topic, epoch, partition, "offset") '
        "WHERE d.reason = 'REFUSED' ORDER BY random()",
    )
    lines = []
    for dead_letter_id, value in refused:
        command = json.loads(value)
        command["payload"]["amount"] = f"{command['payload']['amount']}.00"
        lines.append(json.dumps({"dead_letter_id": str(dead_letter_id), "value": command}))
    edits.write_text("\n".join(lines))
    redrive = ("dead-letters", "redrive", "--edit", "--new-id", "--file", str(edits), *WHY)
    killed_half_way(worker_env, *redrive, "--rate", "400")
    assert two_at_once(worker_env, *redrive) <= {0, 5}

    were_quarantined, were_refused = sent[::2], sent[1::2]
    edited = {str(row[0]) for row in rows(worker_env, "SELECT command_id FROM redrives WHERE value IS NOT NULL")}
    assert len(edited) == COUNT
    outcomes = upstream.answered(*were_quarantined, *were_refused, *({"command_id": one} for one in edited))
    assert worker.sigterm() == 0
    assert gaps(outcomes) == {}
    told = {one["event_id"]: one for one in outcomes}.values()
    assert sorted(one["type"] for one in told) == ["command.rejected"] * COUNT + ["command.succeeded"] * 2 * COUNT
    place_of = {one["command_id"]: one["source"]["offset"] for one in told if one["type"] == "command.succeeded"}
    effects = brokerage.effects()
    assert len({one["request_id"] for one in effects}) == len(effects) == 2 * COUNT
    for account_no in accounts:
        applied = [one["request_id"] for one in effects if one["account_no"] == account_no]
        first, second = applied[: COUNT // ACCOUNTS], applied[COUNT // ACCOUNTS :]
        assert first == [one["command_id"] for one in were_quarantined if one["account_no"] == account_no]
        assert set(second) <= edited
        assert [place_of[one] for one in second] == sorted(place_of[one] for one in second)


def test_what_comes_back_is_published_again_with_its_count_and_what_is_taken_is_answered(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    worker_env: dict[str, str],
    run_cli: RunCli,
) -> None:
    empty = run_cli("dead-letters", "list")
    assert (empty.returncode, empty.stdout) == (0, "")
    assert run_cli("dead-letters", "redrive", "--fingerprint", "0" * 16, *WHY).returncode == 3
    refuse = "ALTER TABLE commands ADD CONSTRAINT for_a_while CHECK (command_type <> 'cash.freeze') NOT VALID"
    with psycopg.connect(worker_env["LEDGER_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(refuse)
        start_worker(settings=QUICK)
        freeze = new_command("cash.freeze", new_account())
        upstream.send(freeze)
        upstream.write([(upstream.topics.freezes, b"\xff", b"{", [("h", b"\x00")])])
        read_raw(upstream.bootstrap, upstream.topics.dead_letters, 2)
        connection.execute("ALTER TABLE commands DROP CONSTRAINT for_a_while")
    listed = json.loads(run_cli("dead-letters", "list", "--all", "--output", "json").stdout)
    ids = {one["reason"]: one["dead_letter_id"] for one in listed}
    done = run_cli("dead-letters", "redrive", *ids.values(), *WHY)
    assert done.returncode == 4, done.stderr
    assert json.loads(done.stdout)["became"] == {"accepted": 1, "malformed": 1}
    assert [one["type"] for one in about(upstream.answered(freeze), freeze)] == ["command.succeeded"]
    assert len(brokerage.effects(account_no=freeze["account_no"])) == 1
    malformed = [
        one
        for one in read_raw(upstream.bootstrap, upstream.topics.dead_letters, 3)
        if headers_of(one, [b"dlq_reason"])["dlq_reason"] == "MALFORMED"
    ]
    counts = [headers_of(one, [b"dlq_redrive_count"])["dlq_redrive_count"] for one in malformed]
    assert counts == ["0", "1"]
    assert {(one.key, one.value, one.headers[0]) for one in malformed} == {(b"\xff", b"{", (b"h", b"\x00"))}
    away = worker_env | {"LEDGER_DATABASE_URL": "postgresql://nobody:none@127.0.0.1:1/none"}
    for arguments in (("list",), ("redrive", ids["MALFORMED"], *WHY), ("seen", ids["MALFORMED"], *WHY)):
        told = run_cli("dead-letters", *arguments, env=away)
        assert (told.returncode, told.stdout, told.stderr.count("\n")) == (1, "", 1)
        assert "Postgres" in told.stderr
