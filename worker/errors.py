"""The errors that a person or the caller above can act on.

LedgerWorkerError
├── SettingsError            a setting is missing or contradicts another        → fix the setting, start again
├── RefusedByGuardError      a guard refuses the action (exit 5)                → the message says what must change first
├── NothingMatchedError      the id or filter given names nothing (exit 3)
├── PartUnavailableError     Kafka, Postgres or the brokerage does not answer   → wait, or start it
│   └── RightMissingError    Kafka does not allow this user what it needs        → grant it there
├── TopicsError              topics differ from the manifest in a way that loses order or data
├── ForgottenError           the database knows less than Kafka says it did       → the runbook, then `recover`
├── RevisionError            the database's revision is not one this release can use
├── LostPlaceError           another intake moved a partition's row meanwhile   → read the row again
└── DataRefusedError         the database refuses these rows for what they contain → bisect, quarantine
"""

from collections.abc import Collection


class LedgerWorkerError(Exception):
    """Base of all; its text is one sentence for a person."""


class SettingsError(LedgerWorkerError):
    """A setting is missing or contradicts another."""


class RefusedByGuardError(LedgerWorkerError):
    """A guard refuses the action; nothing was changed."""


class NothingMatchedError(LedgerWorkerError):
    """The id or filter names nothing."""


class PartUnavailableError(LedgerWorkerError):
    """Kafka, Postgres or the brokerage does not answer."""


class RightMissingError(PartUnavailableError):
    """Kafka does not allow this user something; what waits for it goes on once it is granted."""


class TopicsError(LedgerWorkerError):
    """The topics differ from the manifest in a way that loses order or data."""


class RevisionError(LedgerWorkerError):
    """The database's revision is not one that this release can use."""


class ForgottenError(LedgerWorkerError):
    """The database has forgotten commits: it was restored, or another server answers in its place."""


class DataRefusedError(LedgerWorkerError):
    """The database refuses rows for what they contain, not for its own state."""


class LostPlaceError(LedgerWorkerError):
    """Another intake moved a partition's row since the batch was read; nothing of the batch was stored."""

    def __init__(self, partitions: Collection[tuple[str, int]]) -> None:
        named = ", ".join(f"{topic}[{partition}]" for topic, partition in sorted(partitions))
        super().__init__(f"another intake has moved {named}")
        self.partitions = frozenset(partitions)
