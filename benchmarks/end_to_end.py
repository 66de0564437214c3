"""Commands per second through a running worker: from the first accepted to the last outcome that a consumer has."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from benchmarks.batches import COMMANDS_TOPIC, Feed
from benchmarks.commands import Given, commands
from benchmarks.traffic import Follower, following
from benchmarks.usage import cpu_s
from sandbox.parts import Parts, Program
from worker import clock

OUTCOMES_TOPIC = "ledger.outcomes.v1"
WARM_UP = 1000


@dataclass(frozen=True, slots=True)
class Passed:
    """One measured run; `cpu_s` per part, None where the system does not tell."""

    commands: int
    took_s: float
    cpu_s: dict[str, float | None]

    @property
    def per_s(self) -> float:
        """Commands per second."""
        return self.commands / self.took_s


async def pass_through(
    parts: Parts,
    workers: Sequence[Program],
    brokerage: Program,
    name: str,
    count: int,
    accounts: int,
    topics: tuple[str, str] = (COMMANDS_TOPIC, OUTCOMES_TOPIC),
    warm_up: int = WARM_UP,
) -> Passed:
    """Produce the commands, consume their outcomes; RuntimeError unless each has exactly one, and it says succeeded.

    `topics`: of commands, of outcomes. The first one's time is that of its acceptance, or of its sending where it has none.
    """
    bootstrap = parts.kafka.bootstrap
    async with following(bootstrap, topics[1]) as follower, Feed(bootstrap, topics[0]) as feed:
        await _round(feed, follower, list(commands(f"{name} warm-up", warm_up, accounts)))
        given = list(commands(name, count, accounts))
        programs = {
            "worker": workers,
            "brokerage": [brokerage],
            "postgres": [parts.postgres.program],
            "kafka": [parts.kafka.program],
        }
        before = {part: _cpu_s(which) for part, which in programs.items()}
        began_s, ended_s = await _round(feed, follower, given)
        after = {part: _cpu_s(which) for part, which in programs.items()}
    used = {part: None if a is None else a - (before[part] or 0.0) for part, a in after.items()}
    return Passed(count, ended_s - began_s, used)


def _cpu_s(programs: Sequence[Program]) -> float | None:
    used = [found for program in programs if (found := cpu_s(program.pid)) is not None]
    return sum(used) if used else None


async def _round(feed: Feed, follower: Follower, given: list[Given]) -> tuple[float, float]:
    """Return the unix seconds of the first acceptance and of the last outcome's arrival here."""
    batches = await feed.batches(given)
    sent_s = clock.wall_s()
    found, _ = await asyncio.gather(follower.until(len(given)), feed.send(batches))
    read = [outcome for _, outcome in found]
    _check(given, read)
    accepted = [datetime.fromisoformat(one["timing"]["accepted_at"]).timestamp() for one in read if "timing" in one]
    return min(accepted, default=sent_s), found[-1][0]


def _check(given: list[Given], read: list[dict[str, object]]) -> None:
    succeeded = [UUID(str(one["command_id"])) for one in read if one["type"] == "command.succeeded"]
    if len(succeeded) != len(given) or {one.command_id for one in given} != set(succeeded):
        raise RuntimeError(f"{len(given)} commands gave {len(succeeded)} successes among {len(read)} outcomes")
