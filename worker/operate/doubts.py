"""What is in doubt and what is parked, told to a person: how much is at stake, why nobody knows, and what comes next."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.times import written
from worker.ledger.verdicts import Keying
from worker.operate.rules import sentence
from worker.settings import Settings
from worker.store.listings import list_doubts, list_parked
from worker.store.shown import Shown
from worker.whale.operations import REGISTRY

NO_EVIDENCE: Final[Mapping[Keying, str]] = {
    Keying.REQUEST_ID: "no resend under its key was confirmed yet",
    Keying.TARGET: "neither a resend nor its target has told yet",
    Keying.TAG: "its tag was not seen among the orders yet",
    Keying.NOTHING: "the operation takes no key and cannot be looked up",
}
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


async def doubts(
    connection: AsyncConnection,
    settings: Settings,
    *,
    account_no: str | None = None,
    command_id: UUID | None = None,
    operation: str | None = None,
    older_than_s: float | None = None,
    parked: bool | None = None,
    after: UUID | None = None,
    limit: int,
) -> list[Shown]:
    """List open doubts, the oldest first, each with what is at stake, why there is no evidence, and the next step."""
    rows = await list_doubts(
        connection,
        account_no=account_no,
        command_id=command_id,
        operation=operation,
        older_than_s=older_than_s,
        parked=parked,
        after=after,
        limit=limit,
    )
    return [told_doubt(row, settings) for row in rows]


async def parked(
    connection: AsyncConnection,
    *,
    account_no: str | None = None,
    command_id: UUID | None = None,
    older_than_s: float | None = None,
    after: UUID | None = None,
    limit: int,
) -> list[Shown]:
    """List what is parked, the oldest first, with what is at stake."""
    rows = await list_parked(
        connection, account_no=account_no, command_id=command_id, older_than_s=older_than_s, after=after, limit=limit
    )
    return [row | {"amount": amount_of(row["payload"]), "age": age(row["age_s"])} for row in rows]


def told_doubt(row: Shown, settings: Settings) -> Shown:
    """Add to a doubt's row what a person asks of it; what served only for that is left out."""
    kept = {
        name: row[name]
        for name in (
            *("command_id", "account_no", "operation", "expiry", "command_type", "state", "since_at", "age_s"),
            *("parked_at", "decidable_at", "decidable", "reason", "payload"),
        )
    }
    keying = REGISTRY[row["operation"]].keyed_by
    cause = f"{row['last_rule']}: {sentence(row['last_rule'])}" if row["last_rule"] else "its call has not ended"
    step, at = _next_step(row)
    return kept | {
        "amount": amount_of(row["payload"]),
        "age": age(row["age_s"]),
        "no_evidence": f"{NO_EVIDENCE[keying]}; {cause}",
        "next": step,
        "next_at": at,
        "parks_at": _parks_at(row, keying, settings),
    }


def _next_step(row: Shown) -> tuple[str, str | None]:
    """Say what happens next without anybody's doing, and when."""
    if row["expiry"]:
        return "the end is asked for again", row["timer_wake_at"]
    if row["parked_at"] is not None:
        looks = row["look_at"] is not None
        return ("looked for; a person decides" if looks else "nothing: a person decides"), row["look_at"]
    if row["state"] == "sending":
        return "the answer to the call under way", row["lease_until"]
    if row["lane_state"] == "held":
        return str(row["reason"]), row["lane_wake_at"]
    return f"{row['reason']}: as soon as a worker takes the lane", None


def _parks_at(row: Shown, keying: Keying, settings: Settings) -> str | None:
    """Say when the machine gives up, as things stand; None where it does not, or has."""
    operation = REGISTRY[row["operation"]]
    if row["expiry"] or row["parked_at"] or row["decidable_at"] is None or keying is Keying.TAG:
        return None
    horizon = datetime.fromisoformat(row["decidable_at"])
    first = datetime.fromisoformat(row["first_doubt_at"])
    resent = keying is Keying.REQUEST_ID or (keying is Keying.TARGET and operation.look is not None)
    end = first + timedelta(seconds=settings.whale_key_life_s) if resent else horizon
    if row["not_after"] is not None:
        end = min(end, datetime.fromisoformat(row["not_after"]))
    return written(max(horizon, end))


def amount_of(payload: Mapping[str, Any] | None) -> str | None:
    """Say how much of what a command is about; None where its payload names no amount."""
    payload = payload or {}
    if payload.get("amount") is not None:
        return f"{payload['amount']} {payload.get('currency')}"
    if payload.get("quantity") is not None:
        unit = payload.get("symbol") or payload.get("counter_id")
        return f"{payload['quantity']} {unit}" if unit else str(payload["quantity"])
    return None


def age(seconds: float) -> str:
    """Write a span as people say it: 42s, 17m, 3h 5m, 2d 4h."""
    whole = max(0, int(seconds))
    if whole < MINUTE_S:
        return f"{whole}s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S}m"
    if whole < DAY_S:
        return f"{whole // HOUR_S}h {whole % HOUR_S // MINUTE_S}m"
    return f"{whole // DAY_S}d {whole % DAY_S // HOUR_S}h"
