"""What can go wrong on the way to the worker and back; the class says what to do next.

LedgerClientError
├── SettingsError           a setting is missing or contradicts another                → fix it
├── RefusedError            the worker would refuse the command; nothing was sent       → correct it
├── UnavailableError        Kafka does not answer, or a topic is not there              → wait, or start it
├── NotAcknowledgedError    the command may or may not have arrived                     → send it again, same id
├── NotAnsweredError        no terminal outcome within the deadline                     → wait on, or send it again, same id
├── UnreadableError         an outcome is not what the schemas say                      → a newer release of this package
├── ContradictionError      two outcomes bear one number                                → call us
└── LostError               outcomes were removed before they were read, or others took their place → see its text
"""

from collections.abc import Sequence

from schemas.outcomes import Outcome, OutcomeType

_SAFE = "sending the same command again under the same command_id is safe: it is never done twice"


class LedgerClientError(Exception):
    """Base of all; its text is one sentence for a person."""


class SettingsError(LedgerClientError):
    """A setting is missing or contradicts another."""


class RefusedError(LedgerClientError):
    """The worker would refuse this command; it was not sent. `code` and `field` are those that its outcome would have."""

    def __init__(self, code: str, message: str, field: str | None) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.field = code, message, field


class UnavailableError(LedgerClientError):
    """Kafka does not answer, or refuses us; what was to be done was not done."""


class NotAcknowledgedError(LedgerClientError):
    """Kafka did not acknowledge the command in time; it may arrive yet."""

    def __init__(self, command_id: str, why: str) -> None:
        super().__init__(f"{command_id} may or may not have arrived ({why}); {_SAFE}")
        self.command_id = command_id


class NotAnsweredError(LedgerClientError):
    """No terminal outcome came in time; `news` is what was told of the command meanwhile, the latest last."""

    def __init__(self, command_id: str, deadline_s: float, news: Sequence[Outcome], trouble: str | None) -> None:
        parts = [f"{command_id} has no outcome after {deadline_s:g} s", _standing(news)]
        if trouble is not None:
            parts.append(f"reading outcomes failed meanwhile ({trouble})")
        super().__init__("; ".join([*parts, _SAFE]))
        self.command_id, self.news = command_id, tuple(news)


class UnreadableError(LedgerClientError):
    """An outcome is not what the schemas of this release say."""


class ContradictionError(LedgerClientError):
    """Two outcomes of an account bear one number, so that they cannot both be counted; the worker never does that."""


class LostError(LedgerClientError):
    """Outcomes were removed before they were read, or the topic is not the one that was read; nothing was passed over."""


def _standing(news: Sequence[Outcome]) -> str:
    if not news:
        return (
            "nothing was told of it: not read yet, waiting behind others of its account, or on its way to the brokerage"
        )
    last = news[-1]
    match last.type:
        case OutcomeType.IN_DOUBT:
            return "it is in doubt: the call may or may not have been applied, and the worker goes on finding out"
        case OutcomeType.PARKED:
            return "it is parked: a person of the worker's operators must decide, and an outcome follows"
        case OutcomeType.DUPLICATE | OutcomeType.ACCEPTED:
            return "the worker has it, and has not finished it"
        case _:
            return f"the last that was told is {last.type}"
