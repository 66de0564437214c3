"""What this process may do at the brokerage at once: slots for calls in flight, and tokens borrowed from the fleet; pure.

The fleet's rate is one row in the database; a worker borrows tokens from it in chunks, and what it borrowed lapses.
Probes, expiries and withdrawals are urgent: part of the slots and of the tokens is kept for them.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Budget:
    """Tokens to spend, in chunks that lapse; `reserve` of the tokens left are only for urgent calls."""

    life_s: float
    reserve: int = 0
    _chunks: list[tuple[float, int]] = field(default_factory=list)  # (lapses at, tokens), oldest first

    def add(self, tokens: int, now_s: float) -> None:
        """Add a borrowed chunk; it lapses `life_s` after `now_s` (boot seconds)."""
        if tokens > 0:
            self._chunks.append((now_s + self.life_s, tokens))

    def left(self, now_s: float) -> int:
        """Return how many tokens have not lapsed."""
        self._chunks = [chunk for chunk in self._chunks if chunk[0] > now_s]
        return sum(tokens for _, tokens in self._chunks)

    def take(self, now_s: float, *, urgent: bool) -> bool:
        """Spend one token, the oldest first; False where none is left for this class."""
        if self.left(now_s) <= (0 if urgent else self.reserve):
            return False
        lapses_at, tokens = self._chunks[0]
        if tokens == 1:
            self._chunks.pop(0)
        else:
            self._chunks[0] = (lapses_at, tokens - 1)
        return True


@dataclass(slots=True)
class Slots:
    """Calls in flight; `reserve` of them are only for urgent calls."""

    in_flight_max: int
    reserve: int = 0
    in_flight: int = 0

    def free(self, *, urgent: bool) -> int:
        """Return how many more calls of this class may begin."""
        return max(0, self.in_flight_max - (0 if urgent else self.reserve) - self.in_flight)

    def take(self, *, urgent: bool) -> bool:
        """Begin a call; False where no slot is free for this class."""
        if not self.free(urgent=urgent):
            return False
        self.in_flight += 1
        return True

    def give_back(self) -> None:
        """End a call that `take` began."""
        if not self.in_flight:
            raise ValueError("more calls ended than began")
        self.in_flight -= 1
