"""What the command line prints as JSON: one schema per command, exported to `schemas/json/cli/`.

Every member that is named is there, null rather than absent, save where its description says when; more may come. Nothing
here is known to the worker: a test compares the states with the code's own, another holds what is printed against these.
"""

from typing import Any

from schemas.printed import brake, letters, parts, reconciliation, replays, stories, waiting

FOLDER = "cli"
PRINTED: dict[str, dict[str, Any]] = {
    **parts.COMMANDS,
    **stories.COMMANDS,
    **waiting.COMMANDS,
    **letters.COMMANDS,
    **brake.COMMANDS,
    **replays.COMMANDS,
    **reconciliation.COMMANDS,
}
"""The schema of each command, by the words that it is typed with."""


def documents(dialect: str) -> dict[str, dict[str, Any]]:
    """Return every schema by its file's name: `in-doubt list` is `cli/in-doubt.list.json`."""
    names = {command: f"{FOLDER}/{command.replace(' ', '.')}.json" for command in sorted(PRINTED)}
    return {
        name: {"$schema": dialect, "$id": name, "title": command, **PRINTED[command]} for command, name in names.items()
    }
