"""What lifts a hold of a lane: the one place that knows, by how the hold's reason begins.

Whoever makes lanes wait for a person names it in `lanes.hold_reason` and adds the command line that ends it here;
`explain` tells it then.
"""

import re
from typing import Final

LIFTED_BY: Final[tuple[tuple[str, str], ...]] = (
    (r"not sent:", "ledger-worker doctor"),
    (r"the claim cannot be written", "ledger-worker doctor"),
    (r"account \S+ is held: ", "ledger-worker accounts release {account_no} --reason …"),
    (r"everything is paused: ", "ledger-worker resume --reason …"),
    (r"(?P<operation>\S+) is paused: ", "ledger-worker resume --operation {operation} --reason …"),
)
"""(how the reason begins, what to type; `{account_no}` stands for the account)"""


def what_lifts(hold_reason: str | None, account_no: str) -> str | None:
    """Return the command line that ends such a hold, or shows why it lasts; None where only time does."""
    for beginning, command in LIFTED_BY:
        if found := re.match(beginning, hold_reason or ""):
            return command.format(account_no=account_no, **found.groupdict())
    return None
