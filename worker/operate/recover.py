"""A database that has forgotten is told again what Kafka knows, and whatever it cannot know is in doubt.

What the topics answer is finished as they say. Every other command that is not finished may have been sent after the
moment from which the database comes: none is ever sent as if it were new, but each is resolved like any doubt, by its
key, by a look, or by a person. All of it is one database transaction; a preview is the same, rolled back.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from schemas.outcomes import OutcomeType, event_id
from worker import clock
from worker.errors import NothingMatchedError, RefusedByGuardError
from worker.ledger.audit_chain import JOINS
from worker.ledger.content import HASH_VERSION
from worker.ledger.decide import RECOVERED, Send
from worker.ledger.heard import Heard
from worker.ledger.positions import TopicPartition
from worker.operate.audit import as_row
from worker.operate.remember import Remembered
from worker.operate.retell import doubt, end_as_told, finish_as_told, park
from worker.pipeline.accept import accept_options, topic_types
from worker.pipeline.check import check
from worker.pipeline.turn import EXPIRE, EXPIRY, WRITE, deadline_s, late_apply
from worker.settings import Settings
from worker.store.audit import Action, note
from worker.store.chain import take_back as take_back_audit
from worker.store.conclude import Batch, Conclusion, end_adjustment
from worker.store.engine import transaction
from worker.store.facts import Facts
from worker.store.histories import read_histories
from worker.store.inbox import make_lanes
from worker.store.lanes import read_adjusting
from worker.store.offsets import read_positions
from worker.store.recall import Recall
from worker.store.recalled import (
    add_doubts,
    forget_notices,
    keep_ids,
    lock_out,
    move_places,
    read_notices,
    read_open_adjustments,
    read_recovered,
    read_unfinished,
    release_lanes,
    silence,
    take_back,
)
from worker.store.references import read_endings
from worker.store.rest import lock_lanes
from worker.store.rows import CommandRow
from worker.whale.operations import REGISTRY

MESSAGE = "the database has forgotten what came of this command; it may have been sent"
EARLIEST = timedelta(days=30)
"""No record is kept as long; a producer's timestamp from before would make a look read years of orders."""


@dataclass(slots=True)
class Report:
    """What a recovery found and did, in numbers."""

    records_forgotten: int = 0
    outcomes_forgotten: int = 0
    commands_answered: int = 0
    commands_in_doubt: int = 0
    commands_parked: int = 0
    records_refused: int = 0
    adjustments_in_doubt: int = 0
    ids_without_record: int = 0
    audit_forgotten: int = 0
    accounts: int = 0

    def row(self) -> dict[str, Any]:
        """Return what a person is shown."""
        return asdict(self)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was forgotten and nothing is to be doubted."""
        return not any((*self._forgotten, self.commands_in_doubt, self.commands_parked, self.adjustments_in_doubt))

    @property
    def _forgotten(self) -> tuple[int, int, int]:
        return self.records_forgotten, self.outcomes_forgotten, self.audit_forgotten


async def preview(engine: AsyncEngine, settings: Settings, remembered: Remembered) -> Report:
    """Say what `recover` would do; changes nothing. Raises as it does."""
    async with transaction(engine) as connection:
        undone = await connection.begin_nested()
        report = await _Recovery(connection, settings, remembered).carry_out("", "")
        await undone.rollback()
    return report


async def recover(engine: AsyncEngine, settings: Settings, remembered: Remembered, actor: str, reason: str) -> Report:
    """Do it, with its audit, in one database transaction.

    Raises NothingMatchedError where there is nothing to recover, RefusedByGuardError where a stored place has moved
    since it was read, PartUnavailableError while a worker holds what must be locked; then nothing has changed.
    """
    async with transaction(engine) as connection:
        return await _Recovery(connection, settings, remembered).carry_out(actor, reason)


class _Recovery:
    """One database transaction's work."""

    def __init__(self, connection: AsyncConnection, settings: Settings, remembered: Remembered) -> None:
        self._connection, self._settings, self._remembered = connection, settings, remembered
        self._report = Report(records_forgotten=len(remembered.records))
        self._owner = clock.new_id()
        self._now = datetime.min.replace(tzinfo=UTC)
        self._fresh: dict[UUID, Heard] = {}
        self._told: dict[UUID, list[Heard]] = defaultdict(list)
        self._audit_joins: list[str] = []

    async def carry_out(self, actor: str, reason: str) -> Report:
        connection, remembered = self._connection, self._remembered
        self._now = await lock_out(connection)
        if await read_positions(connection) != remembered.positions:
            raise RefusedByGuardError(
                "a stored place has moved since it was read: a worker runs; stop it and begin again"
            )
        leased = await release_lanes(connection)
        highest, self._fresh = await take_back(connection, remembered.heard)
        self._report.outcomes_forgotten = len(self._fresh)
        for one in sorted(remembered.heard.values(), key=lambda told: told.account_seq):
            self._told[one.command_id].append(one)
        topics = topic_types(self._settings)
        judged = [(record, check(record, topics)) for record in remembered.records]
        named = {j.account_no for _, j in judged if hasattr(j, "account_no")}
        await make_lanes(connection, {*named, *highest})
        commands_before = await read_unfinished(connection, ())
        accounts = {*named, *highest, *leased, *(command.account_no for command in commands_before)}
        lanes, _ = await lock_lanes(connection, accounts)
        for account_no, number in highest.items():
            lanes[account_no].account_seq = max(lanes[account_no].account_seq, number)
        inbox = Recall(
            accept_options(self._settings),
            self._now,
            lanes,
            self._epochs(),
            told=remembered.heard,
            letters=remembered.letters,
        )
        await inbox.store(connection, judged)
        self._report.records_refused = sum(row["disposition"] != "accepted" for row in inbox.records)
        batch = Batch(lanes, self._now, timedelta(seconds=self._settings.in_doubt_notice_s))
        await self._commands(batch)
        await self._adjustments(batch)
        for account_no in accounts:
            batch.rest(account_no)
        self._report.accounts = len(accounts)
        taken = [row for record in remembered.audit if (row := as_row(record)) is not None]
        self._report.audit_forgotten, self._audit_joins = await take_back_audit(connection, taken)
        if self._report.is_empty:
            raise NothingMatchedError("nothing was forgotten and nothing waits; there is nothing to recover")
        await move_places(connection, self._places())
        self._note(batch, actor, reason)
        await batch.write(connection)
        notices = [
            (command_id, is_expiry)
            for command_id, is_expiry, number in await read_notices(connection)
            if event_id(OutcomeType.IN_DOUBT, command_id, attempt=number, of_expiry=is_expiry) in remembered.heard
        ]
        await forget_notices(connection, notices)
        return self._report

    def _epochs(self) -> dict[TopicPartition, int]:
        stored = self._remembered.positions
        return {place: stored[place].epoch if place in stored else 1 for place in self._remembered.ends}

    def _places(self) -> list[dict[str, Any]]:
        """Give the place at which intake goes on in each partition: the end that its log had when it was read."""
        rows = []
        for (topic, partition), end in self._remembered.ends.items():
            stored, last = (
                self._remembered.positions.get((topic, partition)),
                self._remembered.lasts.get((topic, partition)),
            )
            if end > (stored.next_offset if stored else 0):
                row: dict[str, Any] = {"topic": topic, "partition": partition, "next_offset": end}
                rows.append(row | ({"last_offset": last.offset, "last_digest": last.digest()} if last else {}))
        return rows

    async def _commands(self, batch: Batch) -> None:
        """Finish what the topic answers, park what it says is parked; all else that is not finished is in doubt."""
        fresh = [one for one in self._fresh.values() if one.ends_command or one.type is OutcomeType.CORRECTED]
        answered = {one.command_id for one in fresh}
        commands = {c.command_id: c for c in await read_unfinished(self._connection, answered)}
        # whatever was told of a command shows that its id was used, and it may have been sent
        told = [o for o in self._fresh.values() if o.type not in (OutcomeType.DUPLICATE, OutcomeType.CONFLICTED)]
        self._report.ids_without_record = await keep_ids(self._connection, told, HASH_VERSION)
        endings = {one.command_id: one for one in fresh if one.ends_command}
        corrected = {one.command_id: one for one in fresh if not one.ends_command}
        for command_id in sorted(answered):
            ways = endings.get(command_id), corrected.get(command_id)
            finish_as_told(batch.facts, commands.get(command_id), *ways)
        for one in self._fresh.values():
            if one.type is OutcomeType.EXPIRED:
                end_as_told(batch.facts, one)
        self._report.commands_answered = len(answered)
        tried = await read_recovered(self._connection) if self._is_known_already else set()
        doubted = [c for c in commands.values() if c.command_id not in answered and c.command_id not in tried]
        await silence(self._connection, [command.command_id for command in doubted], MESSAGE)
        rows = [self._attempt(command, WRITE, self._number(command), self._earliest(command)) for command in doubted]
        await add_doubts(self._connection, rows)
        for command, row in zip(doubted, rows, strict=True):
            self._doubt(batch, command, row["number"])
        # what ends an adjustment is looked for among those that are stored by now
        await batch.facts.write(self._connection)
        batch.facts = Facts()

    @property
    def _is_known_already(self) -> bool:
        """Whether the topics hold nothing new: then what was recovered before and not tried since stays as it is."""
        return not self._fresh and not self._remembered.records

    def _number(self, command: CommandRow) -> int:
        """Give the attempt a number above all that were told of: the notices about it must have ids of their own."""
        return max([command.attempts, *(one.attempts for one in self._told[command.command_id])]) + 1

    def _earliest(self, command: CommandRow) -> datetime:
        """Say from when on the call may have been made: the life of its key counts from there."""
        at_ms = self._remembered.earliest_ms.get((command.topic, command.partition, command.offset))
        if at_ms is None:
            return command.accepted_at
        return max(
            datetime.fromtimestamp(max(0, min(at_ms, self._now.timestamp() * 1000)) / 1000, UTC), self._now - EARLIEST
        )

    def _doubt(self, batch: Batch, command: CommandRow, number: int) -> None:
        notices = [o for o in self._told[command.command_id] if o.type in (OutcomeType.IN_DOUBT, OutcomeType.PARKED)]
        if command.state == "parked":
            park(batch, command, number, MESSAGE, self._now)
        elif notices and notices[-1].type is OutcomeType.PARKED:
            error = notices[-1].error
            park(batch, command, number, error.message if error else MESSAGE, notices[-1].recorded_at)
        else:
            doubt(batch, command, number, MESSAGE)
            self._report.commands_in_doubt += 1
            return
        self._report.commands_parked += 1

    async def _adjustments(self, batch: Batch) -> None:
        """End what a command is said to have ended; who ends the others that may have been ended already is `unknown`."""
        connection = self._connection
        done = {
            o.command_id for o in self._fresh.values() if o.type is OutcomeType.SUCCEEDED and o.command_type == EXPIRE
        }
        commands = await read_unfinished(connection, done)
        endings = await read_endings(connection, [c for c in commands if c.command_type == EXPIRE])
        for command_id, (adjustment, adjusting) in endings.items():
            if command_id in done and adjustment.ended_by is None:
                told = Conclusion(adjusting, Send(self._now, ""), (), self._now, EXPIRE)
                end_adjustment(batch, batch.lanes[adjustment.account_no], told, adjustment, "command", "answer")
        maybe = [adjustment.command_id for command_id, (adjustment, _) in endings.items() if command_id not in done]
        ended = {row["command_id"] for row in batch.facts.adjustments_ended}
        open_ids = [c for c in await read_open_adjustments(connection, maybe) if c not in ended]
        histories = await read_histories(connection, open_ids, expiry=True)
        await silence(connection, open_ids, MESSAGE)
        rows = []
        for adjustment, command in await read_adjusting(connection, command_ids=open_ids, adjust_nos=()):
            attempts = histories[adjustment.command_id].attempts
            if self._is_known_already and attempts and attempts[-1].rule == RECOVERED:
                continue
            count = max([len(attempts), *(o.attempts for o in self._told[adjustment.command_id])])
            rows.append(self._attempt(command, EXPIRY, count + 1, min(adjustment.expires_at, self._now)))
        await add_doubts(connection, rows)
        self._report.adjustments_in_doubt = len(rows)

    def _attempt(self, command: CommandRow, kind: str, number: int, opened_at: datetime) -> dict[str, Any]:
        """Make the attempt that stands for whatever calls were forgotten: the last may have begun just now."""
        operation = REGISTRY[EXPIRE if kind == EXPIRY else command.command_type]
        over_at = self._now + timedelta(seconds=deadline_s(operation, self._settings))
        return {
            "attempt_id": clock.new_id(),
            "command_id": command.command_id,
            "account_no": command.account_no,
            "kind": kind,
            "number": number,
            "operation": operation.command_type,
            "fence": 0,
            "owner": self._owner,
            "opened_at": opened_at,
            "send_before_at": self._now,
            "lease_until": over_at,
            "horizon_at": over_at + late_apply(operation, self._settings),
            "known": "in_doubt",
            "reported_at": self._now,
            "rule": RECOVERED,
            "message": MESSAGE,
        }

    def _note(self, batch: Batch, actor: str, reason: str) -> None:
        before = {
            f"{topic}[{partition}]": at.next_offset for (topic, partition), at in self._remembered.positions.items()
        }
        after: Mapping[str, Any] = {
            **self._report.row(),
            "places": {f"{row['topic']}[{row['partition']}]": row["next_offset"] for row in self._places()},
            JOINS: self._audit_joins,
        }
        note(
            batch.facts,
            clock.new_id(),
            Action(actor, "recover", reason, "database", {"places": before}, after),
            self._now,
        )
