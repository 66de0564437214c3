"""What goes by age, and in which sequence: bytes that are redacted, rows that are pruned."""

from enum import StrEnum
from typing import Final


class Aged(StrEnum):
    """One sort of what is kept by age; docs/retention.md says what each is and what is left of it."""

    ATTEMPT_BODIES = "attempt-bodies"
    RECORD_BODIES = "record-bodies"
    DEAD_LETTER_BODIES = "dead-letter-bodies"
    ATTEMPTS = "attempts"
    OUTCOMES = "outcomes"
    COMMANDS = "commands"
    DEAD_LETTERS = "dead-letters"
    NEW_DEAD_LETTERS = "new-dead-letters"
    REPLAYS = "replays"

    @property
    def setting(self) -> str:
        """Name the setting that says for how many days it is kept."""
        return f"retention_{self.value.replace('-', '_')}_days"


REDACTED: Final = (Aged.ATTEMPT_BODIES, Aged.RECORD_BODIES, Aged.DEAD_LETTER_BODIES)
"""Of these the rows stay, with a hash of what was in them."""
DAYS_MIN: Final = 2
"""A verdict by absence is watched for a day; what is younger than this is asked for too often to go."""
