"""What is sent: good commands of all ten types, bad ones among them, and what shall go wrong at the brokerage."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from worker.settings import Settings

LAPSES_AFTER_S = 9.0
ORDINARY_ACCOUNTS = 7
IN_TIME = timedelta(hours=4)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it is published."""

    topic: str
    key: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """What the sandbox does to one account's next call of an operation."""

    kind: str
    operation: str
    account_no: str


FAULTS = (
    Fault("drop_answer", "cash.adjust", "H10240021"),  # applied, the answer is lost: sent again under its request_id
    Fault("error_after", "position.adjust", "H10240022"),  # applied, HTTP 500: the same
    Fault("drop_answer", "order.place", "H10240023"),  # applied, the answer is lost: found again by its tag
    Fault("drop_request", "order.place", "H10240024"),  # not applied, which nobody can know at once
    Fault("rate_limited", "cash.freeze", "H10240025"),  # turned away: called again, and never in doubt
)


@dataclass(slots=True)
class Scenario:
    """The records in the sequence in which they are sent, and what must come of them.

    `commands` have a readable identity and so get one terminal outcome each; `notices` are duplicates and conflicts.
    """

    settings: Settings
    now: datetime
    new_id: Callable[[], UUID]
    records: list[Record] = field(default_factory=list)
    commands: dict[str, Json] = field(default_factory=dict)
    dead_letters: int = 0
    notices: int = 0
    expiries: int = 0

    def send(self, command_type: str, account_no: str, payload: Json, *, not_after: datetime | None = None) -> str:
        """Add a command on the topic of its type and keyed by its account; returns its id."""
        made = self._made(command_type, account_no, payload, not_after)
        self._add(made, self.topic_of(command_type), account_no.encode())
        return str(made["command_id"])

    def refuse(self, command_type: str, payload: Json, *, topic: str | None = None, keyed: bool = True) -> None:
        """Add a command with something wrong: a dead letter, and a rejection that names the field."""
        account_no = "H10240031"
        made = self._made(command_type, account_no, payload, None)
        self._add(made, topic or self.topic_of(command_type), account_no.encode() if keyed else None)
        self.dead_letters += 1

    def unreadable(self, value: bytes) -> None:
        """Add a record whose identity cannot be read: a dead letter and nothing else."""
        self.records.append(Record(self.settings.topic_adjustments, b"H10240031", value))
        self.dead_letters += 1

    def again(self, command_id: str, **changes: Any) -> None:  # noqa: ANN401
        """Send a command once more: the same is a duplicate; with a changed payload it is a conflict and a dead letter."""
        first = self.commands[command_id]
        value = json.dumps(first | {"payload": first["payload"] | changes}).encode()
        self.records.append(Record(self.topic_of(first["type"]), first["account_no"].encode(), value))
        self.notices += 1
        self.dead_letters += bool(changes)

    def topic_of(self, command_type: str) -> str:
        """Return the topic that the type belongs on."""
        if command_type.startswith("order."):
            return self.settings.topic_orders
        freezes = {"cash.freeze", "cash.unfreeze", "cash.debit_frozen"}
        return self.settings.topic_freezes if command_type in freezes else self.settings.topic_adjustments

    def _made(self, command_type: str, account_no: str, payload: Json, not_after: datetime | None) -> Json:
        return {
            "command_id": str(self.new_id()),
            "type": command_type,
            "account_no": account_no,
            "issued_at": _text(self.now),
            "issued_by": "demo",
            "not_after": None if not_after is None else _text(not_after),
            "payload": payload,
        }

    def _add(self, made: Json, topic: str, key: bytes | None) -> None:
        self.commands[made["command_id"]] = made
        self.records.append(Record(topic, key, json.dumps(made).encode()))


def scenario(settings: Settings, now: datetime, new_id: Callable[[], UUID]) -> Scenario:
    """Write the script: 60 commands, and records that are none."""
    script = Scenario(settings, now, new_id)
    _temporary(script)
    _doubtful(script)
    misfits = [*_refused_at_once(script), *_refused_later(script), *_not_commands(script)]
    for number in range(1, ORDINARY_ACCOUNTS + 1):
        _ordinary(script, f"H1024000{number}", gives_back=number % 2 == 1)
        for misfit in misfits[number - 1 :: ORDINARY_ACCOUNTS]:
            misfit()
    return script


def further(settings: Settings, now: datetime, new_id: Callable[[], UUID]) -> list[bytes]:
    """Return six commands of one account that nobody has sent yet, as the lines of a file."""
    script = Scenario(settings, now, new_id)
    _ordinary(script, "H10240041", gives_back=True)
    return [record.value for record in script.records]


def _temporary(script: Scenario) -> None:
    """Add one that lapses while we watch and one that is ended by a command."""
    lapses = datetime.fromtimestamp(math.ceil(script.now.timestamp() + LAPSES_AFTER_S), UTC)
    script.send("temp.adjust", "H10240011", _buying_power(lapses))
    stock = {
        "security_type": "STOCK",
        "direction": "CREDIT",
        "counter_id": "ST/US/AAPL",
        "quantity": "100",
        "currency": "USD",
        "cost_price": "200.00",
        "position_side": "LONG",
        "biz_code": "STOCK_ADJ_001",
        "remark": "lent for the day",
        "expires_at": _text(script.now + IN_TIME),
        "op_user": "demo",
    }
    lent = script.send("temp.adjust", "H10240012", stock)
    script.send("temp.expire", "H10240012", {"adjust": {"command_id": lent}, "op_user": "demo"})
    script.expiries = 2


def _doubtful(script: Scenario) -> None:
    """Add what `FAULTS` is about, and what waits behind it in the same lanes."""
    script.send("cash.adjust", "H10240021", _cash("1000.00"))
    script.send("cash.adjust", "H10240021", _cash("250.50"))
    script.send("position.adjust", "H10240022", _position())
    placed = script.send("order.place", "H10240023", _limit_order())
    script.send("order.withdraw", "H10240023", {"order": {"command_id": placed}})
    script.send("order.place", "H10240024", _limit_order())
    script.send("cash.freeze", "H10240025", _freeze())


def _ordinary(script: Scenario, account_no: str, *, gives_back: bool) -> None:
    script.send("cash.adjust", account_no, _cash("1000.00"))
    script.send("position.adjust", account_no, _position())
    frozen = {"freeze": {"command_id": script.send("cash.freeze", account_no, _freeze())}}
    placed = {"order": {"command_id": script.send("order.place", account_no, _limit_order())}}
    if gives_back:
        script.send("cash.unfreeze", account_no, frozen | _freeze())
        script.send("order.withdraw", account_no, placed)
    else:
        script.send("cash.debit_frozen", account_no, frozen)
        script.send("order.modify", account_no, placed | {"quantity": "200", "price": "90.00"})


def _refused_at_once(script: Scenario) -> list[Callable[[], None]]:
    dear = _limit_order() | {"price": None}
    return [
        lambda: script.refuse("cash.adjust", _cash("1000.005")),
        lambda: script.refuse("cash.freeze", _freeze(), topic=script.settings.topic_orders),
        lambda: script.refuse("position.adjust", _position(), keyed=False),
        lambda: script.refuse("order.place", dear),
    ]


def _refused_later(script: Scenario) -> list[Callable[[], object]]:
    """Return what adds commands that are refused by policy when their turn comes, or by the brokerage."""
    unknown = {"order": {"command_id": str(script.new_id())}}
    late = script.now - timedelta(minutes=1)
    return [
        lambda: script.send("cash.adjust", "H10240032", _cash("5.00"), not_after=late),
        lambda: script.send("order.withdraw", "H10240032", unknown),
        lambda: script.send("cash.freeze", "H10240033", _freeze("9000000.00")),
        lambda: script.send("order.place", "H10240033", _limit_order("NOSUCH.US")),
    ]


def _not_commands(script: Scenario) -> list[Callable[[], None]]:
    def first() -> str:
        return next(id_ for id_, made in script.commands.items() if made["account_no"] == "H10240001")

    return [
        lambda: script.unreadable(b'{"command_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "type": "cash.adj'),
        lambda: script.unreadable(b'{"account_no": "H10240031", "account_no": "H10240032"}'),
        lambda: script.again(first()),
        lambda: script.again(first(), amount="1.00"),
    ]


def _cash(amount: str) -> Json:
    return {
        "direction": "CREDIT",
        "currency": "USD",
        "amount": amount,
        "biz_code": "OPLCSTBD",
        "remark": "dividend",
    }


def _position() -> Json:
    return {"direction": "CREDIT", "market": "US", "symbol": "AAPL.US", "quantity": "100", "biz_code": "OPLCSTBD"}


def _freeze(amount: str = "35.00") -> Json:
    return {"currency": "USD", "amount": amount, "biz_code": "CMTF"}


def _limit_order(symbol: str = "AAPL.US") -> Json:
    return {
        "symbol": symbol,
        "side": "Buy",
        "order_type": "LO",
        "quantity": "100",
        "time_in_force": "Day",
        "price": "88.50",
    }


def _buying_power(expires_at: datetime) -> Json:
    return {
        "security_type": "CASH",
        "direction": "CREDIT",
        "currency": "USD",
        "amount": "1000.00",
        "biz_code": "CASH_ADJ_001",
        "remark": "intraday buying power",
        "expires_at": _text(expires_at),
        "op_user": "demo",
    }


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def shown_faults() -> list[Mapping[str, Any]]:
    """Return the faults as the sandbox's own endpoint takes them."""
    return [{"kind": f.kind, "operation": f.operation, "account_no": f.account_no, "times": 1} for f in FAULTS]
