"""What a comparison has found so far: differences by name, counts, and totals of both sides."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from schemas.times import written
from worker.ledger.books import Book, Kind, Line, Ours, plain_unit, total

DIFFERENCES_MAX: Final = 10_000


@dataclass(slots=True)
class Found:
    """What came of it; the list of differences is bounded, the counts are whole."""

    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    sums: defaultdict[tuple[Book, str], list[Decimal]] = field(
        default_factory=lambda: defaultdict(lambda: [Decimal(0), Decimal(0)])
    )
    differences: list[dict[str, Any]] = field(default_factory=list)
    not_read: list[dict[str, str]] = field(default_factory=list)

    def differ(
        self,
        kind: Kind,
        account_no: str,
        *,
        ours: Ours | None = None,
        line: Line | None = None,
        book: Book | None = None,
        said: tuple[str | None, str | None] = (None, None),
        note: str = "",
        **more: Any,  # noqa: ANN401
    ) -> None:
        """Note one difference; `said` is what each side says."""
        self.kinds[kind] += 1
        if len(self.differences) >= DIFFERENCES_MAX:
            return
        at = ours.at if ours else line.at if line else None
        row = {
            "kind": str(kind),
            "account_no": account_no,
            "book": str(line.book) if line else str(book) if book else None,
            "unit": line.unit if line else None,
            "number": line.number if line else ours.number if ours else None,
            "command_id": str(ours.command_id) if ours else None,
            "command_type": ours.command_type if ours else None,
            "at": written(at) if at else None,
            "ours": said[0],
            "theirs": said[1],
            "note": note or None,
        }
        self.differences.append(row | more)

    def add(self, book: Book, unit: str, ours: Decimal | None, theirs: Decimal | None) -> None:
        """Add to the totals; what ours cannot know is taken as theirs."""
        sums = self.sums[book, plain_unit(unit)]
        mine = theirs if ours is None else ours
        sums[0] = total([sums[0], mine or Decimal(0)])
        sums[1] = total([sums[1], theirs or Decimal(0)])

    def totals(self) -> list[dict[str, str | None]]:
        """Return the totals by history and currency or symbol, as text."""
        rows: list[dict[str, str | None]] = []
        for (book, unit), (ours, theirs) in sorted(self.sums.items()):
            shown = book is not Book.TEMPORARY
            rows.append(
                {
                    "book": str(book),
                    "unit": unit,
                    "ours": f"{ours:f}",
                    "theirs": f"{theirs:f}" if shown else None,
                    "difference": f"{total([ours, theirs.copy_negate()]):f}" if shown else None,
                }
            )
        return rows
