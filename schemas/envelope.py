"""What all commands share: who means what for which account, and until when."""

from datetime import datetime
from typing import Any

from schemas.references import Referred
from schemas.text import AccountNo, LowerUuid, Strict, Text
from schemas.times import Instant


class Payload(Strict):
    """The part of a command that differs by type."""

    def refers_to(self) -> Referred | None:
        """Return what an earlier command made and this one needs, if anything."""
        return None

    def lapses_at(self) -> datetime | None:
        """Return when what this makes ends by itself, if it does."""
        return None


class Envelope(Strict):
    """A command, less its payload's particulars."""

    command_id: LowerUuid
    type: Any
    account_no: AccountNo
    issued_at: Instant
    issued_by: Text
    not_after: Instant | None = None
    correlation_id: Text | None = None
    payload: Any
