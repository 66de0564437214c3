"""Everything that must be in order for the worker to do its work: one line each, with what to do where it is not."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from sqlalchemy.ext.asyncio import AsyncEngine

from worker import clock
from worker.errors import LedgerWorkerError
from worker.kafka.past import open_past
from worker.kafka.topics import open_topics
from worker.ledger.positions import ReasonKind
from worker.ledger.verdicts import NotSent
from worker.operate.witnesses import find_witnesses
from worker.settings import Need, Settings
from worker.store.brakes import count_holds, read_pauses
from worker.store.condition import Condition, read_breaches, read_condition, read_server
from worker.store.engine import opened, transaction
from worker.store.offsets import read_positions
from worker.store.revision import current, head
from worker.whale.client import WhaleClient
from worker.whale.operations import REGISTRY
from worker.whale.probes import credentials_check
from worker.whale.sign import Credentials
from worker.whale.verdict import judge
from worker.whale.wire import NoAnswer

SKEW_S_MAX = 2.0
UNPUBLISHED_S_MAX = 60.0
DOUBT_S_MAX = 3600.0
LATE_S = 60.0
ASKED_ACCOUNT = "DOCTOR"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `do` says what to do where it is not in order."""

    name: str
    ok: bool
    says: str
    do: str = ""


async def examine(settings: Settings, parts: Collection[Need]) -> list[Check]:
    """Look at all parts that have settings; never raises for what a part does, that is a check which is not ok."""
    checks: list[Check] = []
    if "database" in parts:
        checks += await _database(settings)
    if "kafka" in parts:
        checks += await _kafka(settings, has_tables=any(one.ok for one in checks if one.name == "revision"))
    if "whale" in parts:
        checks.append(await _brokerage(settings))
    return checks


async def _database(settings: Settings) -> list[Check]:
    url = settings.database_url.get_secret_value()
    try:
        found, needed = await asyncio.to_thread(current, url), await asyncio.to_thread(head)
        async with opened(url) as engine:
            checks = await _server(engine)
            if found != needed:
                told = f"at revision {found or 'none'}, this release needs {needed}"
                return [*checks, Check("revision", ok=False, says=told, do="run `ledger-worker migrate`")]
            checks.append(Check("revision", ok=True, says=str(found)))
            return [*checks, *await _condition(engine, settings)]
    except LedgerWorkerError as error:
        return [Check("database", ok=False, says=str(error), do="start Postgres, or correct LEDGER_DATABASE_URL")]


async def _server(engine: AsyncEngine) -> list[Check]:
    async with transaction(engine) as connection:
        await read_server(connection)  # so that connecting is not taken for skew
        asked_s = clock.wall_s()
        server = await read_server(connection)
        answered_s = clock.wall_s()
    skew_s = server.now.timestamp() - (asked_s + answered_s) / 2
    lasts = (server.fsync, server.full_page_writes, server.synchronous_commit) == ("on", "on", "on")
    said = f"fsync {server.fsync}, full_page_writes {server.full_page_writes}, synchronous_commit {server.synchronous_commit}"
    return [
        Check(
            "database",
            not server.in_recovery,
            f"PostgreSQL {server.version}{', a standby' if server.in_recovery else ''}",
            "point LEDGER_DATABASE_URL at the primary",
        ),
        Check(
            "clock",
            abs(skew_s) <= SKEW_S_MAX,
            f"the database is {skew_s:+.3f} s from this machine",
            "synchronise both clocks: hours are judged by the database's, signatures carry this machine's",
        ),
        Check("durability", lasts, said, "turn them on: a commit that can be lost can double or lose a command"),
    ]


async def _condition(engine: AsyncEngine, settings: Settings) -> list[Check]:
    async with transaction(engine) as connection:
        condition = await read_condition(connection)
        breaches = {name: count for name, count in (await read_breaches(connection, LATE_S)).items() if count}
        pauses, holds = await read_pauses(connection), await count_holds(connection)
    told = ", ".join(f"{count} {name}" for name, count in breaches.items())
    return [
        *_work(condition, settings),
        _brake([f"{one.brake().mark()}{one.reason} (by {one.set_by})" for one in pauses], holds),
        Check(
            "invariants",
            not breaches,
            told or "none is broken",
            "see that a worker runs; what does not go away by itself is a fault of this program: `ledger-worker explain`",
        ),
    ]


def _work(condition: Condition, settings: Settings) -> list[Check]:
    overdue_s_max = settings.sweep_grace_s + LATE_S
    waits = f"{condition.unpublished} wait, the oldest for {condition.oldest_unpublished_s:.0f} s"
    aside = (
        f", {condition.set_aside} were refused by Kafka for good and hold their accounts" if condition.set_aside else ""
    )
    doubt = f"{condition.doubts} in doubt, the oldest for {condition.oldest_doubt_s:.0f} s, {condition.parked} parked"
    late = f"{condition.timers_overdue} past their hour, by {condition.most_overdue_s:.0f} s at most"
    return [
        Check(
            "outbox",
            condition.oldest_unpublished_s <= UNPUBLISHED_S_MAX and not condition.set_aside,
            waits + aside,
            "see that a worker with the role relay runs and reaches Kafka, and what its log says of `publish.set_aside`",
        ),
        Check(
            "doubts",
            condition.parked == 0 and condition.oldest_doubt_s <= DOUBT_S_MAX,
            doubt,
            "decide what no machine can: `ledger-worker parked list`, `ledger-worker in-doubt list`",
        ),
        Check(
            "timers",
            condition.most_overdue_s <= overdue_s_max,
            late,
            "see that workers with the roles timers and lanes run: `ledger-worker timers list --overdue`",
        ),
        Check(
            "intake",
            not condition.stopped,
            "; ".join(condition.stopped) or "no partition is stopped",
            "see `ledger-worker dead-letters list`, mend the producer, then `ledger-worker resume --topic … --partition …`",
        ),
    ]


def _brake(paused: Sequence[str], holds: int) -> Check:
    """Say what people have stopped; a held account is no disorder, but is told."""
    held = f"; {holds} accounts are held" if holds else ""
    return Check(
        "brake",
        not paused,
        ("; ".join(paused) or "nothing is paused") + held,
        "`ledger-worker resume` when it may go on; see docs/runbooks/brake.md",
    )


async def _kafka(settings: Settings, *, has_tables: bool) -> list[Check]:
    try:
        async with open_topics(settings) as topics:
            checks = [Check("kafka", ok=True, says=settings.kafka_bootstrap_servers)]
            differing = await topics.verify()
            told = "; ".join(difference.sentence for difference in differing)
            fits = Check("topics", not differing, told or "as the manifest says", "see `ledger-worker topics plan`")
            checks.append(fits)
            if has_tables and not any(difference.loses for difference in differing):
                async with (
                    opened(settings.database_url.get_secret_value()) as engine,
                    transaction(engine) as connection,
                ):
                    stored = await read_positions(connection)
                ours = {
                    p: replace(at, stopped_reason=None) for p, at in stored.items() if p[0] in settings.command_topics
                }
                reasons = [r for r in (await topics.inspect(ours)).values() if r.kind is not ReasonKind.STOPPED]
                said = "; ".join(reason.sentence for reason in reasons) or "every stored place holds"
                checks.append(Check("places", not reasons, said, "see the runbook, then `ledger-worker topics adopt`"))
                checks.append(await _memory(settings))
            return checks
    except LedgerWorkerError as error:
        return [Check("kafka", ok=False, says=str(error), do="start Kafka, or correct LEDGER_KAFKA_*")]


async def _memory(settings: Settings) -> Check:
    """Say whether Kafka knows of commits that the database does not."""
    async with opened(settings.database_url.get_secret_value()) as engine, open_past(settings) as past:
        found = await find_witnesses(engine, settings, past)
    told = "; ".join(found) or "the database knows what Kafka knows of"
    return Check("memory", not found, told, "see docs/runbooks/restored-database.md, then `ledger-worker recover`")


async def _brokerage(settings: Settings) -> Check:
    """Make one signed read; that the account is not known there does not matter."""
    credentials = Credentials(
        settings.whale_app_key,
        settings.whale_app_secret.get_secret_value(),
        settings.whale_access_token.get_secret_value(),
    )
    try:
        async with WhaleClient(
            url=settings.whale_base_url,
            credentials=credentials,
            timeout_s=settings.whale_timeout_s,
            pool_size=1,
            allow_http=settings.whale_allow_http,
        ) as client:
            exchange = await client.read(credentials_check(ASKED_ACCOUNT))
    except LedgerWorkerError as error:
        return Check("brokerage", ok=False, says=str(error), do="correct LEDGER_WHALE_*")
    if isinstance(exchange, NoAnswer):
        return Check("brokerage", ok=False, says=exchange.message, do="check LEDGER_WHALE_BASE_URL and the network")
    verdict = judge(REGISTRY["order.withdraw"], exchange, frozenset())
    if isinstance(verdict, NotSent) and verdict.pause is not None:
        return Check("brokerage", ok=False, says=verdict.message, do="check the keys, the token and the allow-list")
    return Check("brokerage", ok=True, says=f"{settings.whale_base_url} takes our signature (HTTP {exchange.status})")
