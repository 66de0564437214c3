"""What happens in the demo, one step after the other."""

import asyncio
import json
import logging
import shlex
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from worker import clock
from worker.cli.demo.ask import ask
from worker.cli.demo.balance import EXPIRED, REJECTED, SUCCEEDED, Balance, balance
from worker.cli.demo.lines import dead_letter_line, outcome_line
from worker.cli.demo.scenario import Scenario, further, scenario, shown_faults
from worker.cli.demo.started import Addresses, Started, demo_env, worker_env
from worker.cli.frame import say
from worker.errors import LedgerWorkerError
from worker.kafka.producer import Message, Producer, Sent
from worker.kafka.reader import Reader, open_reader
from worker.kafka.topics import open_topics
from worker.ledger.records import RawRecord
from worker.observe.logs import configure
from worker.settings import Settings
from worker.store.revision import upgrade

ANSWERS_DEADLINE_S = 60.0
READ_S = 0.2
LAST_READ_S = 0.5
LOOK_EVERY_S = 0.5


@dataclass(slots=True)
class Seen:
    """What came on the two topics, without repeats."""

    outcomes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    dead_letters: list[RawRecord] = field(default_factory=list)

    def count(self, *types: str) -> int:
        """How many outcomes are of one of these types."""
        return sum(outcome["type"] in types for outcome in self.outcomes.values())

    def missing(self, script: Scenario) -> dict[str, int]:
        """Count what must still come, by kind; empty when all has come."""
        final = {o["command_id"] for o in self.outcomes.values() if o["type"] in {SUCCEEDED, REJECTED}}
        counts = {
            "terminal outcomes": len(script.commands.keys() - final),
            "notices": script.notices - self.count("command.duplicate", "command.conflicted"),
            "expiries": script.expiries - self.count(EXPIRED),
            "dead letters": script.dead_letters - len(self.dead_letters),
        }
        return {kind: count for kind, count in counts.items() if count > 0}


async def play(started: Started, *, keep: bool) -> bool:
    """Run the demo on parts that have begun to start, and show it on stdout, with talk on stderr.

    Returns whether the outcomes and the brokerage's own ledger agree and nothing is missing. With `keep` it waits for
    Ctrl-C before that.
    """
    began_s = clock.boot_s()
    parts = await started.parts()
    env = demo_env(parts)
    settings = Settings.from_env(env)
    configure("json", settings.secret_values(), sys.stderr, level=logging.CRITICAL)
    say("migrating the database, applying the topics")
    await asyncio.to_thread(upgrade, settings.database_url.get_secret_value())
    async with open_topics(settings) as topics:
        await topics.apply()
    say("starting the worker")
    health = await started.worker(worker_env(env))
    script, seen = await _send_and_show(started, parts, settings)
    _, effects = await ask(parts.brokerage_url, "/_sandbox/effects")
    found = balance(script.commands.keys(), list(seen.outcomes.values()), effects)
    missing = seen.missing(script)
    _close(found, script, seen, missing)
    say(f"this took {clock.boot_s() - began_s:.0f} s")
    if keep:
        file = started.folder / "commands.jsonl"
        file.write_bytes(b"".join(line + b"\n" for line in further(settings, clock.utc_now(), clock.new_id)))
        say(_how_to_use(env, file, next(iter(script.commands))))
        say(
            f"curl {health}/readyz   # or /metrics; the worker's log is {started.worker_log}\n"
            f"curl '{parts.brokerage_url}/_sandbox/effects?account_no=H10240021'   # what the brokerage applied\n\n"
            "Ctrl-C here stops everything."
        )
        await _until_ended(started)
    return found.agrees and not missing


async def _send_and_show(started: Started, parts: Addresses, settings: Settings) -> tuple[Scenario, Seen]:
    for fault in shown_faults():
        await ask(parts.brokerage_url, "/_sandbox/faults", fault)
    async with AsyncExitStack() as stack:
        outcomes = await stack.enter_async_context(open_reader(settings, settings.topic_outcomes, from_beginning=True))
        letters = await stack.enter_async_context(
            open_reader(settings, settings.topic_dead_letters, from_beginning=True)
        )
        script = scenario(settings, clock.utc_now(), clock.new_id)
        await _publish(settings, script)
        say(
            f"sent {len(script.records)} records: {len(script.commands)} commands of all ten types, "
            f"{script.notices} of them once more, {len(script.records) - len(script.commands) - script.notices} unreadable; "
            f"{len(shown_faults())} calls will go wrong at the brokerage\n"
        )
        seen = Seen()
        give_up_s = clock.boot_s() + ANSWERS_DEADLINE_S
        while seen.missing(script) and clock.boot_s() < give_up_s:
            await _show_next(outcomes, letters, seen, READ_S)
            started.check()
        await _show_next(outcomes, letters, seen, LAST_READ_S)
    return script, seen


async def _publish(settings: Settings, script: Scenario) -> None:
    producer = Producer(settings)
    try:
        results = await producer.send([Message(r.topic, r.key, r.value) for r in script.records])
    finally:
        await producer.close()
    unsent = [result for result in results if not isinstance(result, Sent)]
    if unsent:
        raise LedgerWorkerError(f"Kafka did not take {len(unsent)} of the demo's records: {unsent[0].message}")


async def _show_next(outcomes: Reader, letters: Reader, seen: Seen, wait_s: float) -> None:
    """Show what has come, in the sequence of the accounts' own numbers where it came together."""
    came = [json.loads(record.value or b"null") for record in await outcomes.read(wait_s)]
    for outcome in sorted(came, key=lambda o: (o["recorded_at"], o["account_no"], o["account_seq"])):
        if outcome["event_id"] not in seen.outcomes:
            seen.outcomes[outcome["event_id"]] = outcome
            typer.echo(outcome_line(outcome))
    for record in await letters.read(0.0):
        seen.dead_letters.append(record)
        typer.echo(dead_letter_line(record))
    sys.stdout.flush()


def _close(found: Balance, script: Scenario, seen: Seen, missing: Mapping[str, int]) -> None:
    ended = [o["result"]["ended_by"] for o in seen.outcomes.values() if o["type"] == EXPIRED]
    typer.echo(
        f"\n{len(script.records)} records in: {len(seen.dead_letters)} dead letters, "
        f"{seen.count('command.duplicate')} duplicate, {seen.count('command.conflicted')} conflict; "
        f"{len(ended)} temporary adjustments ended, by {' and '.join(sorted(ended)) or 'nobody'}"
    )
    if missing:
        told = ", ".join(f"{count} {kind}" for kind, count in missing.items())
        typer.secho(f"missing after {ANSWERS_DEADLINE_S:.0f} s: {told}", fg="red")
    typer.echo(typer.style(found.line, bold=True, fg="green" if found.agrees else "red"))
    sys.stdout.flush()


def _how_to_use(env: Mapping[str, str], file: Path, command_id: str) -> str:
    called = Path(sys.argv[0])
    program = str(called) if called.name == "ledger-worker" else f"{sys.executable} -m worker"
    exports = "\n".join(f"export {name}={shlex.quote(value)}" for name, value in env.items())
    return (
        f"\nAll of it goes on running. In a second terminal:\n\n{exports}\n\n"
        f"{program} tail\n"
        f"{program} send {file}   # six new commands; a second time they are duplicates\n"
        f"{program} explain {command_id}"
    )


async def _until_ended(started: Started) -> None:
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        started.check()
