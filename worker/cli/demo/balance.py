"""The closing balance: what the outcomes topic says was applied, against what the brokerage's own ledger has; pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from worker.whale.operations import tag

Outcome = Mapping[str, Any]
Effect = Mapping[str, Any]
Done = tuple[str, str]
"""An operation, and what tells one call of it from others: request_id, tag or the target's number."""

SUCCEEDED, REJECTED, IN_DOUBT = "command.succeeded", "command.rejected", "command.in_doubt"
EXPIRED = "temp_adjustment.expired"
BY_TAG = {"temp.adjust", "order.place"}
BY_NUMBER = {"temp.expire": "adjust_no", "order.modify": "order_id", "order.withdraw": "order_id"}


@dataclass(frozen=True, slots=True)
class Balance:
    """Counts of commands, and of effects that are missing from (lost) or too many in (doubled) the brokerage's ledger.

    `succeeded` and `rejected` are without those that were in doubt in between, which are `resolved`; `misnumbered`
    counts accounts whose `account_seq` is not 1, 2, 3, …; `answered_twice` commands with two terminal outcomes.
    """

    commands: int
    answered: int
    succeeded: int
    rejected: int
    resolved: int
    lost: int
    doubled: int
    answered_twice: int
    misnumbered: int

    @property
    def agrees(self) -> bool:
        """Whether every command has its one answer and the brokerage's ledger bears all of them out."""
        wrong = (self.lost, self.doubled, self.answered_twice, self.misnumbered)
        return self.answered == self.commands and not any(wrong)

    @property
    def line(self) -> str:
        """The balance as one line for a person."""
        told = (
            f"{self.commands} commands in, {self.answered} answered: {self.succeeded} succeeded, {self.rejected} rejected, "
            f"{self.resolved} in doubt and resolved; brokerage's own ledger {'agrees' if self.agrees else 'DISAGREES'}: "
            f"{self.lost} lost, {self.doubled} doubled"
        )
        beside = {"answered twice": self.answered_twice, "accounts with a gap": self.misnumbered}
        return told + "".join(f", {count} {what}" for what, count in beside.items() if count)


def balance(command_ids: Collection[str], outcomes: Sequence[Outcome], effects: Sequence[Effect]) -> Balance:
    """Compare. `outcomes` are all of the topic without repeats, `effects` all of the sandbox's audit."""
    final = [o for o in outcomes if o["type"] in {SUCCEEDED, REJECTED} and o["command_id"] in command_ids]
    answered = {o["command_id"]: o["type"] for o in final}
    doubted = {o["command_id"] for o in outcomes if o["type"] == IN_DOUBT} & answered.keys()
    undoubted = Counter(verdict for command_id, verdict in answered.items() if command_id not in doubted)
    said, found = _said(outcomes), Counter(_found(effect) for effect in effects)
    return Balance(
        commands=len(command_ids),
        answered=len(answered),
        succeeded=undoubted[SUCCEEDED],
        rejected=undoubted[REJECTED],
        resolved=len(doubted),
        lost=(said - found).total(),
        doubled=(found - said).total(),
        answered_twice=len(final) - len(answered),
        misnumbered=_misnumbered(outcomes),
    )


def _said(outcomes: Sequence[Outcome]) -> Counter[Done]:
    """Return what was applied as the outcomes tell it: each succeeded command, each expiry that no command asked for."""
    said: Counter[Done] = Counter()
    for outcome in outcomes:
        operation, result = outcome["command_type"], outcome["result"]
        if outcome["type"] == SUCCEEDED:
            said[_called(operation, outcome["command_id"], result)] += 1
        elif outcome["type"] == EXPIRED and result["ended_by"] in {"timer", "brokerage"}:
            said["temp.expire" if result["ended_by"] == "timer" else "sweep", result["adjust_no"]] += 1
    return said


def _called(operation: str, command_id: str, result: Mapping[str, Any]) -> Done:
    if operation in BY_TAG:
        return operation, tag(UUID(command_id)).rstrip()
    if operation in BY_NUMBER:
        return operation, result[BY_NUMBER[operation]]
    return operation, command_id


def _found(effect: Effect) -> Done:
    """Say of an effect what `_called` says of the outcome that should tell of it."""
    operation = effect["operation"]
    if operation in BY_TAG:
        return operation, (effect["remark"] or "").partition(" ")[0]
    if operation in BY_NUMBER or operation == "sweep":
        return operation, effect["number"]
    return operation, effect["request_id"]


def _misnumbered(outcomes: Sequence[Outcome]) -> int:
    numbers: dict[str, list[int]] = {}
    for outcome in outcomes:
        numbers.setdefault(outcome["account_no"], []).append(outcome["account_seq"])
    return sum(sorted(seqs) != list(range(1, len(seqs) + 1)) for seqs in numbers.values())
