"""One account's part of a reconciliation, a day at most: what is stored of it against what the brokerage shows.

A command belongs to the part by the instant of its first call, the brokerage's line that has its key with it; a line of the
brokerage that is nobody's, by its own. So parts that touch count everything once. Both sides are read an hour beyond the
part, theirs at least until our last answer, because an effect may be minutes later than its call.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from schemas.times import written
from worker.ledger.books import (
    Book,
    Expected,
    Kind,
    Line,
    Matched,
    Ours,
    debited,
    differing_terms,
    disagreements,
    expect,
    makers,
    match,
    order_terms,
    outcome_faults,
    temporary_amount,
)
from worker.ledger.verdicts import Unreadable
from worker.operate.differences import Found
from worker.store import reconciling as store
from worker.store.engine import transaction
from worker.whale.entry import Reader
from worker.whale.histories import HISTORIES, read_history, read_one_order, read_orders
from worker.whale.probes import LIVE

MARGIN: Final = timedelta(hours=1)
KINDS: Final = ("order_id", "serial_num")
CHANGES: Final = ("order.modify", "order.withdraw")
UNDECIDED: Final = ("queued", "sending", "in_doubt", "parked")


class Part:
    """One account, a day at most."""

    def __init__(
        self,
        engine: AsyncEngine,
        reader: Reader,
        found: Found,
        account_no: str,
        start: datetime,
        end: datetime,
        left_out_codes: Collection[str],
    ) -> None:
        self._engine, self._reader, self._found, self._left_out = engine, reader, found, left_out_codes
        self._account_no, self._start, self._end = account_no, start, end

    async def compare(self) -> None:
        """Compare outcomes with commands, and commands with what the brokerage has."""
        await self._outcomes()
        ours = await self._read_ours()
        here = [one for one in ours if self._is_here(one.at)]
        self._found.counts["commands"] += len(here)
        latest = max((one.finished_at for one in here if one.finished_at), default=self._end)
        lines = await self._read_lines(self._start - MARGIN, max(self._end, latest) + MARGIN)
        expected = await self._expected(ours)
        matched = match(
            [one for one in expected if lines[one.book] is not None],
            [line for read in lines.values() for line in read or ()],
        )
        await self._alone_there(matched, {one.command_id for one in here})
        self._commands(here, matched)
        self._pairs(matched)
        orders = {line.number: line for line in lines[Book.ORDERS] or ()}
        await self._alone_here(matched, orders)
        if lines[Book.ORDERS] is not None:
            await self._orders(here, orders)

    def _is_here(self, at: datetime) -> bool:
        return self._start <= at < self._end

    async def _outcomes(self) -> None:
        async with transaction(self._engine) as connection:
            given = (connection, self._account_no, self._start, self._end)
            self._found.counts["outcomes"] += await store.count_outcomes(*given)
            faults = await store.read_faults(*given)
        for fault in faults:
            told = {
                "command_id": str(fault.command_id),
                "at": written(fault.recorded_at),
                "account_seq": fault.account_seq,
            }
            if fault.unpublished:
                note = f"refused by Kafka: {fault.set_aside}" if fault.set_aside else "it waits for the relay"
                self._differ(Kind.UNPUBLISHED, said=(fault.type, None), note=note, **told)
            if fault.after is not None:
                self._differ(Kind.GAP, note=f"account_seq {fault.account_seq} follows {fault.after}", **told)
            if fault.unknown:
                self._differ(Kind.COMMAND_MISSING, said=(fault.type, None), note="nothing of its command", **told)
        if len(faults) == store.FAULTS_MAX:
            self._not_read("outcomes", f"more than {store.FAULTS_MAX} of one day are not as they should be")

    async def _read_ours(self) -> list[Ours]:
        found: list[Ours] = []
        after = 0
        while True:
            async with transaction(self._engine) as connection:
                page = await store.read_between(
                    connection, self._account_no, self._start - MARGIN, self._end + MARGIN, after=after
                )
            found += page
            if len(page) < store.COMMANDS_AT_ONCE:
                return found
            after = page[-1].position

    async def _read_lines(self, start: datetime, end: datetime) -> dict[Book, list[Line] | None]:
        """Read every history; one that cannot be read whole is None, and told."""
        bounds = max(0, int(start.timestamp())), int(end.timestamp())
        read: dict[Book, list[Line] | Unreadable] = {
            history.book: await read_history(self._reader, history, self._account_no, *bounds) for history in HISTORIES
        }
        read[Book.ORDERS] = await read_orders(self._reader, self._account_no, *bounds)
        whole: dict[Book, list[Line] | None] = {}
        for book, lines in read.items():
            if isinstance(lines, Unreadable):
                self._not_read(book, lines.note)
                whole[book] = None
            else:
                whole[book] = lines
        return whole

    async def _expected(self, ours: Sequence[Ours]) -> list[Expected]:
        """Return what the applied commands should have left there; a debit's amount is what its freeze had left."""
        expected = [line for one in ours if one.state == "succeeded" for line in expect(one)]
        debits = {one.ours.command_id: one.ours.payload["freeze"] for one in expected if one.amount is None}
        if not debits:
            return expected
        ids = [UUID(ref["command_id"]) for ref in debits.values() if ref.get("command_id")]
        serials = [ref["serial_num"] for ref in debits.values() if ref.get("serial_num")]
        async with transaction(self._engine) as connection:
            made = await store.read_made(connection, self._account_no, ids, "serial_num", serials)
            freezes = [one for one in made if one.command_type == "cash.freeze"]
            by_ref = _by_reference(freezes)
            given_back = await store.read_referring(
                connection,
                self._account_no,
                ["cash.unfreeze"],
                ("freeze", "serial_num"),
                [one.command_id for one in freezes],
                [one.number for one in freezes if one.number],
            )
        filled = []
        for one in expected:
            if one.amount is None:
                reference = debits[one.ours.command_id]
                freeze = by_ref.get(_name(reference, "serial_num"))
                back = [
                    other
                    for other in given_back
                    if other.state == "succeeded"
                    and freeze is not None
                    and by_ref.get(_name(other.payload["freeze"], "serial_num")) is freeze
                ]
                serial = freeze.number if freeze else reference.get("serial_num")
                filled.append(debited(one, freeze, back, serial))
            else:
                filled.append(one)
        return filled

    def _commands(self, here: Sequence[Ours], matched: Matched) -> None:
        """Name what is undecided, and what its outcomes say wrongly."""
        tagged = {line.tagged: line for line in matched.theirs_alone if line.tagged is not None}
        for one in here:
            self._found.counts[f"commands_{one.state}"] += 1
            said = (_amount_of(one), None)
            line = tagged.get(one.command_id)
            if one.doubt is not None:
                note = f"{'its end: ' if one.expiry else ''}{one.doubt}"
                seen = f"; the brokerage has {line.book} {line.number} with its tag" if line else ""
                self._differ(Kind.IN_DOUBT, ours=one, said=said, note=note + seen)
            elif one.state not in ("succeeded", "rejected"):
                self._differ(Kind.UNFINISHED, ours=one, said=said, note=f"it is {one.state}")
            if one.state == "rejected" and line is not None:
                self._differ(
                    Kind.REJECTED_BUT_THERE, ours=one, line=line, said=("rejected", f"{line.amount:f}"), note=line.text
                )
            for kind, note in outcome_faults(one):
                self._differ(kind, ours=one, note=note)
            if one.command_type == "temp.adjust" and one.state == "succeeded":
                self._found.add(Book.TEMPORARY, *temporary_amount(one), None)
                self._found.counts["not_comparable"] += 1

    def _pairs(self, matched: Matched) -> None:
        for pair in matched.pairs:
            if not self._is_here(pair.expected.ours.at):
                continue
            self._found.counts["matched"] += 1
            self._found.counts["lines"] += 1
            if pair.line.book is Book.ORDERS:
                continue  # its terms may have been changed since: see _orders
            self._found.add(pair.line.book, pair.line.unit, pair.expected.amount, pair.line.amount)
            for kind, ours, theirs in disagreements(pair.expected, pair.line):
                self._differ(kind, ours=pair.expected.ours, line=pair.line, said=(ours, theirs))

    async def _alone_here(self, matched: Matched, orders: dict[str, Line]) -> None:
        """Name what we say was applied and the brokerage does not show; an order is asked for by its number first."""
        for one in matched.ours_alone:
            if not self._is_here(one.ours.at):
                continue
            if one.book is Book.ORDERS and one.number is not None:
                line = await read_one_order(self._reader, self._account_no, one.number)
                if isinstance(line, Unreadable):
                    self._not_read(Book.ORDERS, line.note)
                    continue
                if line is not None:
                    orders[line.number] = line
                    self._found.counts["matched"] += 1
                    self._found.counts["lines"] += 1
                    continue
            note = "" if one.number else "its number is not known here, so nothing can be matched with it"
            said = (None if one.amount is None else f"{one.amount:f} {one.unit}", None)
            self._differ(Kind.OURS_WITHOUT_THEIRS, ours=one.ours, book=one.book, said=said, note=note)
            if one.unit is not None and one.amount is not None:
                self._found.add(one.book, one.unit, one.amount, None)

    async def _alone_there(self, matched: Matched, here: set[UUID]) -> None:
        """Name the lines that are none of ours; one whose number or tag is known may belong to another part."""
        alone = [line for line in matched.theirs_alone if self._is_here(line.at)]
        if not alone:
            return
        async with transaction(self._engine) as connection:
            by_number = {
                kind: await store.read_owners(connection, kind, [x.number for x in alone if _kind(x) == kind])
                for kind in KINDS
            }
            by_tag = await store.read_tagged(connection, [line.tagged for line in alone if line.tagged])
        taken = {(pair.line.book, pair.expected.ours.command_id) for pair in matched.pairs}
        for line in alone:
            owner = by_number[_kind(line)].get(line.number) or (by_tag.get(line.tagged) if line.tagged else None)
            note = self._foreign(line, owner, taken)
            if line.code in self._left_out and owner is None:
                self._found.counts["left_out"] += 1
            elif note is None:
                self._found.counts["of_other_ranges_or_undecided"] += 1
            else:
                self._found.counts["lines"] += 1
                self._found.add(line.book, line.unit, Decimal(0), line.amount)
                if owner is None or owner.state != "rejected" or owner.command_id not in here:
                    said = (None, f"{line.amount:f} {line.unit}")
                    self._differ(Kind.THEIRS_WITHOUT_OURS, line=line, said=said, note=note or line.text)

    def _foreign(self, line: Line, owner: store.Owner | None, taken: Collection[tuple[Book, UUID]]) -> str | None:
        """Return why a line is none of ours, "" where nothing more is known; None where it is, but not of this part."""
        if owner is None:
            return ""
        named = f"{owner.command_type} {owner.command_id}"
        if owner.account_no != self._account_no:
            return f"it is that of {named} of account {owner.account_no}"
        if owner.state == "rejected":
            return f"it carries the tag of {named}, which is rejected"
        if owner.command_type == "temp.adjust" and line.tagged == owner.command_id:
            return None  # the API is not known to show these; where it does, nothing is wrong
        if owner.command_type not in makers(line):
            return f"it has the number of {named}, which makes no such line"
        if owner.state in UNDECIDED:
            return None
        if (line.book, owner.command_id) in taken or (owner.number is not None and owner.number != line.number):
            return f"it is another one for {named}, which has {owner.number}"
        return None

    async def _orders(self, here: Sequence[Ours], orders: dict[str, Line]) -> None:
        """Hold each order that was placed, changed or withdrawn in this range against all that was ever done to it."""
        placed = [one for one in here if one.command_type == "order.place" and one.state == "succeeded"]
        changing = [one for one in here if one.command_type in CHANGES and one.state == "succeeded"]
        references = [one.payload["order"] for one in changing]
        ids = [one.command_id for one in placed]
        ids += [UUID(ref["command_id"]) for ref in references if ref.get("command_id")]
        numbers = [ref["order_id"] for ref in references if ref.get("order_id")]
        if not ids and not numbers:
            return
        async with transaction(self._engine) as connection:
            made = await store.read_made(connection, self._account_no, ids, "order_id", numbers)
            made = [one for one in made if one.command_type == "order.place"]
            numbers += [one.number for one in made if one.number]
            changes = await store.read_referring(
                connection, self._account_no, CHANGES, ("order", "order_id"), [one.command_id for one in made], numbers
            )
        by_ref = _by_reference(made)
        by_number: dict[str, list[Ours]] = defaultdict(list)
        for change in changes:
            reference = change.payload["order"]
            target = by_ref.get(_name(reference, "order_id"))
            by_number[(target.number if target else None) or reference.get("order_id") or ""].append(change)
        here_ids = {one.command_id for one in here}
        for number in dict.fromkeys(numbers):
            await self._order(number, by_ref.get(number), by_number[number], orders, here_ids)

    async def _order(
        self, number: str, placed: Ours | None, changes: Sequence[Ours], orders: dict[str, Line], here: set[UUID]
    ) -> None:
        line: Line | Unreadable | None = orders.get(number) or await read_one_order(
            self._reader, self._account_no, number
        )
        if isinstance(line, Unreadable):
            self._not_read(Book.ORDERS, line.note)
            return
        in_range = [one for one in changes if one.command_id in here and one.state == "succeeded"]
        self._found.counts["matched" if line else "unmatched_changes"] += len(in_range)
        if line is None:
            for one in in_range:
                note = f"the brokerage has no order {number}"
                self._differ(Kind.OURS_WITHOUT_THEIRS, ours=one, book=Book.ORDERS, note=note)
            return
        terms = order_terms(placed, changes)
        if placed is not None and placed.command_id in here:
            quantity = None if terms is None else Decimal(terms["quantity"])
            self._found.add(Book.ORDERS, line.unit, quantity, line.amount)
        for kind, ours, theirs in differing_terms(terms or {}, line, LIVE):
            self._differ(kind, ours=placed or in_range[-1], line=line, said=(ours, theirs))

    def _differ(self, kind: Kind, **more: Any) -> None:  # noqa: ANN401
        self._found.differ(kind, self._account_no, **more)

    def _not_read(self, book: str, why: str) -> None:
        self._found.not_read.append(
            {
                "account_no": self._account_no,
                "book": str(book),
                "from": written(self._start),
                "to": written(self._end),
                "why": why,
            }
        )


def _by_reference(made: Sequence[Ours]) -> dict[str, Ours]:
    """Return commands by all names under which a later one may refer to them."""
    return dict(_names(made))


def _names(made: Sequence[Ours]) -> Iterator[tuple[str, Ours]]:
    for one in made:
        yield str(one.command_id), one
        if one.number:
            yield one.number, one


def _name(reference: dict[str, Any], number: str) -> str:
    return str(reference.get("command_id") or reference.get(number))


def _amount_of(one: Ours) -> str | None:
    payload = one.payload
    named = (payload.get("amount") or payload.get("quantity"), payload.get("currency") or payload.get("symbol"))
    return " ".join(part for part in (payload.get("direction"), *named) if part) or None


def _kind(line: Line) -> str:
    return "order_id" if line.book is Book.ORDERS else "serial_num"
