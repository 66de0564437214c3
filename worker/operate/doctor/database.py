"""Postgres: the server, its clock and revision, and what waits in the tables."""

import asyncio
import re
from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from worker import clock
from worker.errors import LedgerWorkerError, PartUnavailableError, SettingsError
from worker.operate.doctor.check import Check
from worker.settings import Settings
from worker.store.brakes import count_holds, read_pauses
from worker.store.condition import Condition, read_audit_condition, read_breaches, read_condition, read_server
from worker.store.engine import opened, transaction
from worker.store.revision import OLDEST_SERVER, Found, head, look

SKEW_S_MAX = 2.0
UNPUBLISHED_S_MAX = 60.0
DOUBT_S_MAX = 3600.0
LATE_S = 60.0


async def examine_database(settings: Settings) -> list[Check]:
    """Look at the server, and at what its tables say where they are of this release."""
    url = settings.database_url.get_secret_value()
    checks: list[Check] = []
    try:
        found = await asyncio.to_thread(look, url)
        async with opened(url) as engine:
            checks += await _server(engine)
            checks.append(_revision(found))
            if not checks[-1].ok:
                return checks
            checks += await _condition(engine, settings)
    except LedgerWorkerError as error:
        is_away = isinstance(error, PartUnavailableError | SettingsError)
        do = (
            "start Postgres, or correct LEDGER_DATABASE_URL"
            if is_away
            else "give LEDGER_DATABASE_URL the database and the role of `ledger-worker migrate`"
        )
        away = Check("database", ok=False, says=str(error), do=do)
        return [away, *(one for one in checks if one.name != "database")]
    return checks


def _revision(found: Found) -> Check:
    if (misfit := found.misfit()) is not None:
        told, _, do = misfit.partition("; ")
        return Check("revision", ok=False, says=told, do=do)
    newer = f", of a later release; this one ends at {head()} and may work with it" if found.is_newer() else ""
    return Check("revision", ok=True, says=f"{found.revision}{newer}")


async def _server(engine: AsyncEngine) -> list[Check]:
    async with transaction(engine) as connection:
        await read_server(connection)  # so that connecting is not taken for skew
        asked_s = clock.wall_s()
        server = await read_server(connection)
        answered_s = clock.wall_s()
    skew_s = server.now.timestamp() - (asked_s + answered_s) / 2
    lasts = (server.fsync, server.full_page_writes, server.synchronous_commit) == ("on", "on", "on")
    said = f"fsync {server.fsync}, full_page_writes {server.full_page_writes}, synchronous_commit {server.synchronous_commit}"
    major = re.match("[0-9]*", server.version)  # a release to come is 19beta1
    is_old = int((major and major[0]) or 0) < OLDEST_SERVER
    wrong = "point LEDGER_DATABASE_URL at the primary" if server.in_recovery else f"use {OLDEST_SERVER} or newer"
    return [
        Check(
            "database",
            not server.in_recovery and not is_old,
            f"PostgreSQL {server.version}{', a standby' if server.in_recovery else ''}",
            wrong,
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
        breaches = await read_breaches(connection, LATE_S)
        audit = await read_audit_condition(connection)
        pauses, holds = await read_pauses(connection), await count_holds(connection)
    # what is broken goes first; the rest is listed too, so that it is seen what was looked at
    told = ", ".join(f"{count} {name}" for name, count in sorted(breaches.items(), key=lambda one: not one[1]))
    return [
        *_work(condition, settings),
        _brake([f"{one.brake().mark()}{one.reason} (by {one.set_by})" for one in pauses], holds),
        Check(
            "invariants",
            not any(breaches.values()),
            told,
            "see that a worker runs; what does not go away by itself is a fault of this program: `ledger-worker explain`",
        ),
        Check(
            "audit",
            audit.head_seq == audit.last_seq and audit.oldest_unpublished_s <= UNPUBLISHED_S_MAX,
            f"{audit.last_seq} rows, the chain's head is at {audit.head_seq}; {audit.unpublished} are not published, "
            f"the oldest for {audit.oldest_unpublished_s:.0f} s",
            "run `ledger-worker audit verify`; see docs/runbooks/audit.md",
        ),
    ]


def _work(condition: Condition, settings: Settings) -> list[Check]:
    overdue_s_max = settings.sweep_grace_s + LATE_S
    waits = f"{condition.unpublished} wait, the oldest for {condition.oldest_unpublished_s:.0f} s"
    doubt = f"{condition.doubts} in doubt, the oldest for {condition.oldest_doubt_s:.0f} s, {condition.parked} parked"
    late = f"{condition.timers_overdue} past their hour, by {condition.most_overdue_s:.0f} s at most"
    work = condition.lanes_ready + condition.unpublished + condition.timers_overdue
    return [
        Check(
            "workers",
            bool(condition.workers) or not work,
            f"{condition.workers} hold a lease; {condition.lanes_ready} accounts wait for their turn",
            "start one: `ledger-worker run`; see its log, and /readyz",
        ),
        Check(
            "outbox",
            condition.oldest_unpublished_s <= UNPUBLISHED_S_MAX,
            waits,
            "see that a worker with the role relay runs and reaches Kafka",
        ),
        Check(
            "set-aside",
            not condition.set_aside,
            f"{condition.set_aside} were refused by Kafka for good, each holds what comes after it",
            "see docs/runbooks/set-aside.md: `ledger-worker outbox list`",
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
