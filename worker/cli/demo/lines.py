"""How an outcome and a dead letter are shown: one line each."""

from collections.abc import Mapping
from typing import Any

import typer

from worker.ledger.records import RawRecord

COLOURS = {
    "succeeded": "green",
    "expired": "cyan",
    "rejected": "yellow",
    "in doubt": "magenta",
    "parked": "red",
    "corrected": "red",
}


def outcome_line(outcome: Mapping[str, Any]) -> str:
    """Return time (UTC), account, its account_seq, the command's type, what came of it, and why."""
    what = str(outcome["type"]).partition(".")[2].replace("_", " ")
    told = f"{what:<10}"
    return "  ".join(
        (
            str(outcome["recorded_at"])[11:23],
            f"{outcome['account_no']:<9}",
            f"#{outcome['account_seq']:<2}",
            f"{outcome['command_type'] or '?':<17}",
            typer.style(told, fg=COLOURS.get(what)),
            _why(outcome),
        )
    ).rstrip()


def dead_letter_line(record: RawRecord) -> str:
    """Return the same of a dead letter: when it was refused, its key, why, and where it came from."""
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers[-9:]}
    told = {name.decode("utf-8", "replace"): value for name, value in headers.items()}
    key = "(no key)" if record.key is None else record.key.decode("utf-8", "replace")
    where = f"{told.get('dlq_original_topic')}[{told.get('dlq_original_partition')}]@{told.get('dlq_original_offset')}"
    return "  ".join(
        (
            told.get("dlq_failed_at", "")[11:23],
            f"{key:<9}",
            "   ",
            f"{told.get('dlq_reason', ''):<17}",
            typer.style("dead letter", fg="red") + f" {told.get('dlq_error_message')} ({where})",
        )
    )


def _why(outcome: Mapping[str, Any]) -> str:
    result, error = outcome["result"], outcome["error"]
    if outcome["type"] == "temp_adjustment.expired":
        return f"{result['adjust_no']} ended by {result['ended_by']}, its hour was {str(outcome['payload']['expires_at'])[11:19]}"
    if outcome["type"] == "command.duplicate":
        return f"sent again: {'nothing was done' if result or error else 'the first is not finished yet'}"
    if outcome["type"] == "command.in_doubt":
        return str(error["message"]).removeprefix("in doubt: ")
    if error is not None:
        return f"{error['code']}: {error['message']}"
    if result is None:
        return ""
    number = next((result[name] for name in ("adjust_no", "serial_num", "order_id") if result[name]), "")
    inferred = "" if result["basis"] == "answer" else f" ({result['basis']})"
    calls = f", {outcome['attempts']} calls" if outcome["attempts"] > 1 else ""
    return f"{number}{inferred}{calls}"
