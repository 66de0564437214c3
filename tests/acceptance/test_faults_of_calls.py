"""Whatever goes wrong with a call: applied at most once, one attempt is one request, and the outcome agrees with the books."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests import factories
from tests.support import QUICK, SandboxClient, WorkerProcess, new_account, new_command, wait_until
from tests.support.door import Door
from tests.support.upstream import Json, Upstream, about, gaps, temporary

SETTINGS = QUICK | {
    "LEDGER_WHALE_TIMEOUT_S": "3",
    "LEDGER_LANE_LEASE_S": "8",
    "LEDGER_LATE_APPLY_S": "5",
    "LEDGER_WHALE_KEY_LIFE_S": "14",
    "LEDGER_WHALE_FINAL_CODES": "BLOCKED_BY_RISK",
}
BY_REQUEST_ID = {"cash.adjust", "position.adjust", "cash.freeze", "cash.unfreeze", "cash.debit_frozen"}
TARGET_OF = {
    "temp.expire": ("temp.adjust", "adjust"),
    "cash.unfreeze": ("cash.freeze", "freeze"),
    "cash.debit_frozen": ("cash.freeze", "freeze"),
    "order.modify": ("order.place", "order"),
    "order.withdraw": ("order.place", "order"),
}
SUCCEEDED, REJECTED, PARKED = "command.succeeded", "command.rejected", "command.parked"
ENDS = (SUCCEEDED, REJECTED, PARKED)

Fault = dict[str, Any]
ONE_FAULT: dict[str, Fault] = {
    "request lost": {"kind": "drop_request"},
    "answer lost": {"kind": "drop_answer"},
    "5xx before": {"kind": "error_before"},
    "5xx after apply": {"kind": "error_after"},
    "late apply": {"kind": "late_apply", "delay_s": 2},
    "slower than the deadline": {"kind": "delay", "delay_s": 5},
    "inner failed": {"kind": "inner_failed"},
    "malformed": {"kind": "malformed"},
    "429 in an envelope": {"kind": "rate_limited"},
    "429 in plain text": {"kind": "rate_limited", "json": False},
    "signature seen before": {"kind": "replayed_signature"},
    "refused": {"kind": "refused"},
    "refused by a known inner code": {"kind": "inner_failed", "code": "PARAM_ERROR"},
    "refused by a configured inner code": {"kind": "inner_failed", "code": "BLOCKED_BY_RISK"},
}
REFUSALS: dict[str, Fault] = {
    "insufficient": {"kind": "refused"},
    "429": {"kind": "rate_limited"},
    "403201": {"kind": "refused", "status": 403, "code": 403201},
}
NEVER_TAKEN = {"429 in an envelope", "429 in plain text"}
NEVER_APPLIED = {"request lost", "5xx before", "inner failed", "signature seen before"}
APPLIED_LATE = {"late apply", "slower than the deadline"}
ANSWERED_FAILED = {"answer lost", "5xx after apply", "malformed"}
"""After these the adjustment has ended, so that the resent expire is answered FAILED, which does not tell why."""


@dataclass
class Case:
    """One command that meets faults, alone on its account."""

    operation: str
    told: str
    faults: list[Fault]
    expected: tuple[str, ...]
    account_no: str = field(default_factory=new_account)
    commands: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.commands = commands_for(self.operation, self.account_no)

    @property
    def name(self) -> str:
        return f"{self.operation}, {self.told}"

    @property
    def command(self) -> Json:
        return self.commands[-1]

    def arm(self, brokerage: SandboxClient) -> None:
        for fault in self.faults:
            brokerage.fault(**{"operation": self.operation, "account_no": self.account_no, **fault})


def commands_for(operation: str, account_no: str) -> list[Json]:
    """The command, behind the one that it refers to, if any."""
    if operation == "temp.adjust":
        return [temporary(account_no)]
    if operation not in TARGET_OF:
        return [new_command(operation, account_no)]
    made_by, kind = TARGET_OF[operation]
    first = commands_for(made_by, account_no)[0]
    return [first, new_command(operation, account_no, {kind: {"command_id": first["command_id"]}})]


def expected(operation: str, told: str) -> tuple[str, ...]:
    """Say how a command may end that met this one fault on its first call."""
    if told.startswith("refused"):
        return (REJECTED,)
    if told in NEVER_TAKEN or operation in BY_REQUEST_ID:
        return (SUCCEEDED,)
    match operation:
        case "temp.adjust":
            return (PARKED,)
        case "temp.expire" if told == "inner failed":
            return (REJECTED,)
        case "temp.expire" if told in APPLIED_LATE:
            return (SUCCEEDED, PARKED)  # parked where the resend came after it, and was answered FAILED
        case "temp.expire":
            return (PARKED,) if told in ANSWERED_FAILED else (SUCCEEDED,)
        case "order.place":
            return (REJECTED,) if told in NEVER_APPLIED else (SUCCEEDED,)
        case _:
            return (SUCCEEDED,)


def with_one_fault() -> Iterator[Case]:
    for operation in factories.TYPES:
        for told, fault in ONE_FAULT.items():
            yield Case(operation, told, [fault], expected(operation, told))


def refused_after_a_lost_answer() -> Iterator[Case]:
    """The first call was applied; what comes next must not make us say that it was not."""
    lost: Fault = {"kind": "drop_answer"}
    for told, refusal in REFUSALS.items():
        for_ever = {**refusal, "times": -1}
        for operation in sorted(BY_REQUEST_ID):
            yield Case(operation, f"answer lost, then once {told}", [lost, refusal], (SUCCEEDED,))
            yield Case(operation, f"answer lost, then always {told}", [lost, for_ever], (PARKED,))
        for operation in ("temp.adjust", "temp.expire"):
            yield Case(operation, f"answer lost, then always {told}", [lost, for_ever], (PARKED,))
        for operation in ("order.place", "order.modify", "order.withdraw"):
            yield Case(operation, f"answer lost, then calls always {told}", [lost, for_ever], (SUCCEEDED,))
    for told, fault in (("429", {"kind": "rate_limited"}), ("5xx", {"kind": "error_before"})):
        for operation in ("order.place", "order.modify", "order.withdraw"):
            once = {**fault, "operation": "read"}
            yield Case(operation, f"answer lost, then the look once {told}", [lost, once], (SUCCEEDED,))
            yield Case(operation, f"answer lost, then looks always {told}", [lost, {**once, "times": -1}], (PARKED,))


def test_each_operation_ends_as_the_books_say_after_each_fault(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    worker_env: dict[str, str],
    subtests: pytest.Subtests,
) -> None:
    cases = [*with_one_fault(), *refused_after_a_lost_answer()]
    workers = [start_worker(settings=SETTINGS, wait=False) for _ in range(2)]
    for case in cases:
        case.arm(brokerage)
    for worker in workers:
        worker.wait_ready()
    upstream.send(*(command for case in cases for command in case.commands))
    outcomes = until_decided(upstream, cases)
    sent = attempts_sent(worker_env["LEDGER_DATABASE_URL"])
    assert gaps(outcomes) == {}
    for case in cases:
        with subtests.test(case.name):
            ends_as_expected(case, outcomes, brokerage, sent[case.command["command_id"]])
    for worker in workers:
        assert worker.sigterm() == 0


def until_decided(upstream: Upstream, cases: list[Case]) -> list[Json]:
    """Read until every case has ended or parked; one that never does is left for its own check to tell."""
    wanted = {case.command["command_id"] for case in cases}
    seen: list[Json] = []

    def decided(outcomes: list[Json]) -> bool:
        seen[:] = outcomes
        return wanted <= {one["command_id"] for one in outcomes if one["type"] in ENDS}

    try:
        upstream.outcomes(decided, deadline_s=80)
    except AssertionError:
        return seen
    return seen


def attempts_sent(database_url: str) -> dict[str, int]:
    """Count by command the attempts that left; one whose `send_before` passed first, on a busy machine, did not."""
    statement = """
        SELECT command_id::text, count(*) FROM attempts
        WHERE kind = 'write' AND rule <> 'send_before_passed' GROUP BY command_id
    """
    with psycopg.connect(database_url) as connection:
        return dict(connection.execute(statement).fetchall())


def ends_as_expected(case: Case, outcomes: list[Json], brokerage: SandboxClient, sent: int) -> None:
    told = about(outcomes, case.command)
    ends = [one for one in told if one["type"] in ENDS]
    calls = brokerage.calls(account_no=case.account_no, operation=case.operation)
    applied = len(brokerage.effects(account_no=case.account_no, operation=case.operation))
    shown = [(one["type"], one["attempts"], one["error"], one["result"]) for one in told]
    assert len(ends) == 1, shown
    assert ends[0]["type"] in case.expected, shown
    assert sent == len(calls), [(one["status"], one["fault"]) for one in calls]
    are_the_same_bytes_in_later_seconds(calls)
    match ends[0]["type"]:
        case "command.succeeded":
            assert applied == 1
        case "command.rejected":
            assert applied == 0
        case _:
            assert applied <= 1
            assert ends[0]["error"]["code"] == "IN_DOUBT"
            assert [one["type"] for one in told] == ["command.in_doubt", PARKED]


def are_the_same_bytes_in_later_seconds(calls: list[Json]) -> None:
    """A resend is the same request; at least a second later, for its signature is made of the second."""
    assert len({(one["method"], one["path"], one["query"], str(one["request"])) for one in calls}) == 1
    received = [datetime.fromisoformat(one["received_at"]) for one in calls]
    assert all((after - before).total_seconds() >= 1 for before, after in pairwise(received)), received


def test_a_refused_connection_neither_rejects_nor_doubles(
    start_worker: Callable[..., WorkerProcess],
    upstream: Upstream,
    brokerage: SandboxClient,
    subtests: pytest.Subtests,
) -> None:
    door = Door(urlsplit(brokerage.url).netloc)
    settings = SETTINGS | {"LEDGER_WHALE_BASE_URL": door.url, "LEDGER_WHALE_KEY_LIFE_S": "30"}
    worker = start_worker(settings=settings)
    untried = [Case(name, "connection refused", [], (SUCCEEDED,)) for name in factories.TYPES]
    lost = [
        Case(
            name,
            "answer lost, then connection refused",
            [{"kind": "drop_answer"}],
            (PARKED,) if name in ("temp.adjust", "temp.expire") else (SUCCEEDED,),
        )
        for name in factories.TYPES
    ]
    for case in lost:
        case.arm(brokerage)
    upstream.send(*(command for case in lost for command in case.commands))
    upstream.send(*(command for case in untried for command in case.commands[:-1]))
    wait_until(lambda: all(brokerage.calls(account_no=c.account_no, operation=c.operation) for c in lost))
    upstream.answered(*(command for case in untried for command in case.commands[:-1]))

    door.close()
    upstream.send(*(case.command for case in untried))
    wait_until(lambda: not worker.is_ready(), message="readiness says that nobody answers at the brokerage")
    assert "brokerage" in worker.get("/readyz")[1]
    door.open()
    worker.wait_ready()
    outcomes = until_decided(upstream, [*untried, *lost])
    for case in [*untried, *lost]:
        with subtests.test(case.name):
            told = about(outcomes, case.command)
            ends = [one["type"] for one in told if one["type"] in ENDS]
            assert ends == list(case.expected), told
            assert len(brokerage.effects(account_no=case.account_no, operation=case.operation)) == 1
    door.close()
    assert worker.sigterm() == 0
