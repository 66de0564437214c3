"""What this process may begin now: free slots, and calls borrowed from the fleet's rate."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from worker import clock
from worker.observe.metrics import Metrics
from worker.pipeline.policy import Repeats
from worker.pipeline.turn import Turn
from worker.settings import Settings
from worker.store.engine import transaction
from worker.store.rate import borrow
from worker.whale.limits import Budget, Slots

CHUNKS_PER_S = 10
HANGS_S = 1.0
LATER_S = (0.1, 0.3)
LATER_HANGING_S = (5.0, 15.0)
URGENT_PART = 0.1


class Permits:
    """Slots and tokens of one process; urgent calls have a part of both to themselves."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine, self._per_s = engine, settings.whale_rate_per_s
        self._burst = max(1.0, self._per_s / CHUNKS_PER_S)
        self._tokens = Budget(life_s=1.0)
        self._asked_s = 0.0
        self._chunk = 0
        self.slots = Slots(
            settings.whale_in_flight_max, reserve=max(0, int(settings.whale_in_flight_max * URGENT_PART))
        )

    async def available(self) -> tuple[int, int]:
        """How many calls may begin: (urgent ones, others). Borrows a chunk when little is left.

        Raises PartUnavailableError when the fleet's rate cannot be read: then nothing may begin.
        """
        now_s = clock.boot_s()
        want = self.slots.free(urgent=True)
        left = self._tokens.left(now_s)
        if want > left and now_s - self._asked_s >= min(1.0 / CHUNKS_PER_S, 2.0 / self._per_s):
            soon = now_s - self._asked_s < 1.0 / CHUNKS_PER_S
            self._asked_s = now_s
            # who is back so soon uses up what it borrows: it takes more at a time, and comes less often
            self._chunk = max(want - left, 2 * self._chunk if soon else 0)
            self._chunk = max(1, min(self._chunk, int(self._burst)))
            async with transaction(self._engine) as connection:
                granted = await borrow(connection, want=self._chunk, per_s=self._per_s, burst=self._burst, reserve=0.0)
            self._tokens.add(granted, clock.boot_s())
            left += granted
        reserve = int(min(self._burst, left) * URGENT_PART)
        return min(want, left), min(self.slots.free(urgent=False), left - reserve)

    def begin(self) -> None:
        """Take a slot and a token for a call that `available` allowed."""
        self._tokens.take(clock.boot_s(), urgent=True)
        self.slots.take(urgent=True)

    def end(self) -> None:
        """Give the slot back."""
        self.slots.give_back()


class Repeating:
    """Calls and looks that are out for what is in doubt: half of the slots at most.

    A brokerage that lets the calls of some accounts hang would else take all slots for these accounts, again and again.
    """

    def __init__(self, slots: int) -> None:
        self._most = max(1, slots // 2)
        self._since_s: dict[UUID, float] = {}

    def begin(self, turn: Turn) -> None:
        """Note a turn that begins, if it is about a doubt."""
        if turn.repeats:
            self._since_s[turn.attempt_id] = clock.boot_s()

    def end(self, turn: Turn) -> None:
        """Note that it is over."""
        self._since_s.pop(turn.attempt_id, None)

    def room(self) -> Repeats:
        """Say how many more may begin. Who finds no room asks again soon where calls take their usual time."""
        oldest_s = next(iter(self._since_s.values()), None)
        hangs = oldest_s is not None and clock.boot_s() - oldest_s > HANGS_S
        return Repeats(max(0, self._most - len(self._since_s)), *(LATER_HANGING_S if hangs else LATER_S))


class Barred:
    """Adds up, by class, how long nothing could begin; counted from one look at the permits to the next."""

    def __init__(self, metrics: Metrics) -> None:
        self._waited_s = {name: metrics.limiter_wait_s.labels(name) for name in ("urgent", "others")}
        self._since_s: dict[str, float] = {}

    def note(self, now_s: float, urgent: int, others: int) -> None:
        """Take what may begin now, of each class."""
        for name, free in (("urgent", urgent), ("others", others)):
            since_s = self._since_s.pop(name, None)
            if since_s is not None:
                self._waited_s[name].inc(now_s - since_s)
            if free <= 0:
                self._since_s[name] = now_s
