"""For those who send commands and those who read outcomes; needs `schemas`, aiokafka and pydantic, and nothing of the worker.

- connection  where Kafka is, how to speak to it, and what the topics are called
- commands    builds commands, and refuses before sending what the worker would refuse
- client      sends a command and waits for its outcome
- outcomes    reads an outcome's bytes
- consume     for analytics: outcomes once each, proved complete, into Postgres or Parquet
- errors      what to do next

`python -m ledger_client.consume --help`; docs/clients.md has a complete example of each.
"""

from ledger_client.client import Answer, LedgerClient, Sent, State
from ledger_client.commands import new_command
from ledger_client.connection import Connection, Topics
from ledger_client.errors import (
    LedgerClientError,
    NotAcknowledgedError,
    NotAnsweredError,
    RefusedError,
    SettingsError,
    UnavailableError,
)
from schemas.outcomes import Outcome, OutcomeType

__all__ = [
    "Answer",
    "Connection",
    "LedgerClient",
    "LedgerClientError",
    "NotAcknowledgedError",
    "NotAnsweredError",
    "Outcome",
    "OutcomeType",
    "RefusedError",
    "Sent",
    "SettingsError",
    "State",
    "Topics",
    "UnavailableError",
    "new_command",
]
