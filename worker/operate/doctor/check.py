"""One line of what `doctor` says."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `do` says what to do where it is not in order."""

    name: str
    ok: bool
    says: str
    do: str = ""
