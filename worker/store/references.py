"""What a command refers to: an earlier command of the same account, or a number of the brokerage."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from worker.ledger.verdicts import Numbers
from worker.store.engine import sql
from worker.store.lanes import read_adjusting
from worker.store.rows import AdjustmentRow, CommandRow

NUMBER_OF = {"adjust": "adjust_no", "freeze": "serial_num", "order": "order_id"}
TYPE_OF = {"adjust": "temp.adjust", "freeze": "cash.freeze", "order": "order.place"}

Ending = tuple[AdjustmentRow, CommandRow]


@dataclass(frozen=True, slots=True)
class Target:
    """The number to put into the call, and the command of ours that made it, where known."""

    numbers: Numbers
    made_by: UUID | None


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why the reference cannot be used: `code` is REFERENCE_UNDECIDED or REFERENCE_INVALID."""

    code: str
    message: str
    field: str


async def resolve(
    connection: AsyncConnection, commands: Sequence[tuple[CommandRow, str]]
) -> dict[UUID, Target | Unusable]:
    """Find the targets of commands, each given with the kind of its reference (`adjust`, `freeze`, `order`)."""
    wanted = {command.command_id: (command, kind, command.payload[kind]) for command, kind in commands}
    ids = [UUID(r["command_id"]) for _, _, r in wanted.values() if r.get("command_id")]
    given = [r[NUMBER_OF[kind]] for _, kind, r in wanted.values() if r.get(NUMBER_OF[kind])]
    made = await _read_commands(connection, ids)
    owners = await _read_numbers(connection, {NUMBER_OF[kind] for _, kind, _ in wanted.values()}, given)
    found: dict[UUID, Target | Unusable] = {}
    for command_id, (command, kind, reference) in wanted.items():
        if reference.get("command_id"):
            found[command_id] = _by_command(command, kind, UUID(reference["command_id"]), made)
        else:
            found[command_id] = _by_number(command, kind, reference[NUMBER_OF[kind]], owners)
    return found


def _by_command(command: CommandRow, kind: str, target_id: UUID, made: Mapping[UUID, RowMapping]) -> Target | Unusable:
    field = f"payload.{kind}.command_id"
    row = made.get(target_id)
    if row is None or row["account_no"] != command.account_no:
        return Unusable("REFERENCE_INVALID", f"no command of this account has the id {target_id}", field)
    if row["command_type"] != TYPE_OF[kind]:
        return Unusable("REFERENCE_INVALID", f"command {target_id} is no {TYPE_OF[kind]}", field)
    state = row["state"] or row["verdict"]
    if state in ("in_doubt", "parked", "sending"):
        return Unusable("REFERENCE_UNDECIDED", f"command {target_id} is not decided yet: {state}", field)
    if state == "rejected":
        return Unusable("REFERENCE_INVALID", f"command {target_id} was rejected", field)
    if state != "succeeded":
        return Unusable("REFERENCE_INVALID", f"command {target_id} comes later than this one", field)
    number = row["made"].get(NUMBER_OF[kind])
    if number is None:
        return Unusable("REFERENCE_INVALID", f"the brokerage's number for command {target_id} is not known", field)
    return Target(Numbers(**{NUMBER_OF[kind]: number}), target_id)


def _by_number(
    command: CommandRow, kind: str, number: str, owners: Mapping[tuple[str, str], tuple[str, UUID]]
) -> Target | Unusable:
    name = NUMBER_OF[kind]
    owner = owners.get((name, number))
    if owner is not None and owner[0] != command.account_no:
        return Unusable("REFERENCE_INVALID", f"{name} {number} belongs to another account", f"payload.{kind}.{name}")
    return Target(Numbers(**{name: number}), owner[1] if owner else None)


async def _read_commands(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, RowMapping]:
    if not ids:
        return {}
    statement = sql("""
        SELECT i.command_id, i.account_no, i.command_type, i.verdict, c.state,
               coalesce((SELECT jsonb_object_agg(n.kind, n.number) FROM numbers n WHERE n.command_id = i.command_id),
                        '{}') AS made
        FROM command_ids i LEFT JOIN commands c USING (command_id) WHERE i.command_id = ANY(:ids)
    """)
    rows = (await connection.execute(statement, {"ids": list(ids)})).mappings()
    return {row["command_id"]: row for row in rows}


async def _read_numbers(
    connection: AsyncConnection, kinds: Collection[str], given: Sequence[str]
) -> dict[tuple[str, str], tuple[str, UUID]]:
    if not given:
        return {}
    statement = sql("""
        SELECT kind, number, account_no, command_id FROM numbers WHERE kind = ANY(:kinds) AND number = ANY(:numbers)
    """)
    rows = (await connection.execute(statement, {"kinds": list(kinds), "numbers": list(given)})).mappings()
    return {(row["kind"], row["number"]): (row["account_no"], row["command_id"]) for row in rows}


async def read_endings(connection: AsyncConnection, commands: Sequence[CommandRow]) -> dict[UUID, Ending]:
    """For commands that end a temporary adjustment: which one of ours it is, if any, by the command's id."""
    references = {c.command_id: c.payload["adjust"] for c in commands}
    found = await read_adjusting(
        connection,
        command_ids=[UUID(r["command_id"]) for r in references.values() if r.get("command_id")],
        adjust_nos=[r["adjust_no"] for r in references.values() if r.get("adjust_no")],
    )
    by_name: dict[str, Ending] = {}
    for adjustment, adjusting in found:
        by_name[str(adjustment.command_id)] = (adjustment, adjusting)
        if adjustment.adjust_no:
            by_name.setdefault(adjustment.adjust_no, (adjustment, adjusting))
    named = {c: by_name.get(r.get("command_id") or r.get("adjust_no")) for c, r in references.items()}
    accounts = {c.command_id: c.account_no for c in commands}
    return {c: ending for c, ending in named.items() if ending and ending[0].account_no == accounts[c]}
