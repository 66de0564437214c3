"""Doubles of what the lanes engine works with: they note what was asked and answer as told."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from worker.errors import PartUnavailableError
from worker.ledger.verdicts import Confirmed, Evidence, NotSent, Numbers, Verdict
from worker.pipeline.claim import Claimed
from worker.pipeline.policy import UNBOUNDED, Repeats
from worker.pipeline.turn import Ended
from worker.whale.limits import Slots

DONE = Confirmed(Numbers(), "success")
AWAY = PartUnavailableError("Postgres does not answer")


def turn(name: str) -> Any:
    """A turn of which the engine looks only at the account; one whose name begins with `again` is about a doubt."""
    account = SimpleNamespace(account_no=name)
    return SimpleNamespace(name=name, command=account, attempt_id=name, repeats=name.startswith("again"))


@dataclass
class Claims:
    """Gives what it was told to, one answer per claim, then nothing."""

    answers: list[Any] = field(default_factory=list)
    asked: int = 0
    urgent_only: bool = False
    repeats: Repeats = UNBOUNDED

    async def claim(self, limit: int, *, urgent_only: bool, repeats: Repeats) -> Claimed:
        await asyncio.sleep(0)
        self.asked += 1
        self.urgent_only, self.repeats = urgent_only, repeats
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Claimed):
            return answer
        assert len(answer) <= limit
        return Claimed([turn(name) for name in answer], len(answer))


@dataclass
class Effects:
    """Answers calls at once, or when `gate` opens."""

    gate: asyncio.Event | None = None
    found: Callable[[str], Verdict | Evidence] = lambda _: DONE
    called: list[str] = field(default_factory=list)
    checks: int = 0
    let_in: asyncio.Event = field(default_factory=asyncio.Event)

    async def carry_out(self, one: Any) -> Ended:
        self.called.append(one.name)
        if self.gate is not None:
            await self.gate.wait()
        return Ended(one, self.found(one.name), 0.0)

    async def check_credentials(self, account_no: str) -> NotSent | None:
        await asyncio.sleep(0)
        self.checks += 1
        return None if self.let_in.is_set() else NotSent("token_refused", f"still refused for {account_no}")


@dataclass
class Finishes:
    """Records, after so many refusals, unless it hangs."""

    away: int = 0
    hangs: bool = False
    recorded: list[tuple[str, Any]] = field(default_factory=list)
    asked: int = 0
    leaves_ready: bool = False

    async def finish(self, ended: Sequence[Ended]) -> bool:
        await asyncio.sleep(0)
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.away > 0:
            self.away -= 1
            raise AWAY
        self.recorded += [(one.turn.name, one.found) for one in ended]  # type: ignore[attr-defined]
        return self.leaves_ready

    def names(self) -> list[str]:
        return [name for name, _ in self.recorded]


@dataclass
class Permits:
    """As many calls as there are slots."""

    slots: Slots = field(default_factory=lambda: Slots(8))

    async def available(self) -> tuple[int, int]:
        return self.slots.free(urgent=True), self.slots.free(urgent=False)

    def begin(self) -> None:
        assert self.slots.take(urgent=True)

    def end(self) -> None:
        self.slots.give_back()
