"""JSON Schemas and the AsyncAPI document as files, so that a change of the wire is a diff that someone reviews.

`python -m schemas.export` writes them to `schemas/json/`, what the command line prints to `schemas/json/cli/`, and the pages
`docs/codes.md` and `docs/commands.md`; a test keeps all of it current.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from schemas import asyncapi, audit, codes, commands_page, dead_letters, meanings, printed
from schemas.commands import MODELS
from schemas.outcomes import Outcome, OutcomeType

HERE = Path(__file__).parent / "json"
DOCS = Path(__file__).parent.parent / "docs"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def documents() -> dict[str, dict[str, Any]]:
    """Return every document by its file's name."""
    found = {
        f"{name}.json": {
            "$schema": _DIALECT,
            "$id": f"{name}.json",
            **model.model_json_schema(mode="validation"),
            "title": name,
        }
        for name, model in MODELS.items()
    }
    found["outcome.json"] = _outcome()
    found["outcome-headers.json"] = _headers("outcome-headers", _OUTCOME_HEADERS, {"ce_correlationid", "traceparent"})
    found["dead-letter-headers.json"] = _headers("dead-letter-headers", _DEAD_LETTER_HEADERS, set())
    found["audit.json"] = {"$schema": _DIALECT, "$id": "audit.json", **audit.document()}
    found["asyncapi.json"] = asyncapi.document()
    return meanings.complete(found) | printed.documents(_DIALECT)


def export(folder: Path = HERE) -> list[Path]:
    """Write every document into the folder, which is made if need be; return the files in the sequence written."""
    (folder / printed.FOLDER).mkdir(parents=True, exist_ok=True)
    files = []
    for name, text in _texts().items():
        (folder / name).write_text(text, encoding="utf-8")
        files.append(folder / name)
    return files


def stale(folder: Path = HERE) -> list[str]:
    """Return the names of files that are missing, out of date, or no longer ours; empty when all are current."""
    texts = {name: text.encode() for name, text in _texts().items()}
    found = [*folder.glob("*.json"), *(folder / printed.FOLDER).glob("*.json")]
    kept = {path.relative_to(folder).as_posix(): b"" if path.is_dir() else path.read_bytes() for path in found}
    return sorted(name for name in texts.keys() | kept.keys() if texts.get(name) != kept.get(name))


def pages() -> dict[str, str]:
    """Return every page of the documentation that is made from here, by its file's name below `docs/`."""
    return {"codes.md": codes.as_markdown(), "commands.md": commands_page.as_markdown(documents())}


def _texts() -> dict[str, str]:
    return {name: json.dumps(document, indent=2, ensure_ascii=False) + "\n" for name, document in documents().items()}


def _outcome() -> dict[str, Any]:
    """Describe what consumers read: every member present; members that they do not know may be added later."""
    schema = TypeAdapter(Outcome).json_schema(mode="serialization")
    for described in (schema, *schema["$defs"].values()):
        if described.get("type") == "object":
            described["required"] = list(described["properties"])
            described["additionalProperties"] = True
            for member in described["properties"].values():
                member.pop("default", None)
    return {"$schema": _DIALECT, "$id": "outcome.json", **schema, "title": "outcome"}


_OUTCOME_HEADERS: dict[str, dict[str, Any]] = {
    "content-type": {"const": "application/json"},
    "ce_specversion": {"const": "1.0"},
    "ce_id": {"type": "string", "format": "uuid", "description": "event_id"},
    "ce_source": {"type": "string", "format": "uri-reference"},
    "ce_type": {"enum": [f"ledger.{outcome_type}.v1" for outcome_type in OutcomeType]},
    "ce_subject": {"type": "string", "description": "account_no"},
    "ce_time": {"type": "string", "format": "date-time", "description": "occurred_at"},
    "ce_causationid": {"type": "string", "format": "uuid", "description": "command_id"},
    "ce_correlationid": {"type": "string", "description": "absent when the command has no correlation_id"},
    "traceparent": {"type": "string", "description": "the command's, when it carried a valid one"},
}
_INTEGER_TEXT = {"type": "string", "pattern": "^-?[0-9]+$"}
_DEAD_LETTER_HEADERS: dict[str, dict[str, Any]] = {
    dead_letters.REASON: {"enum": [reason.value for reason in dead_letters.Reason]},
    dead_letters.ERROR_MESSAGE: {"type": "string"},
    dead_letters.ERROR_FINGERPRINT: {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    dead_letters.ORIGINAL_TOPIC: {"type": "string"},
    dead_letters.ORIGINAL_PARTITION: _INTEGER_TEXT,
    dead_letters.ORIGINAL_OFFSET: _INTEGER_TEXT,
    dead_letters.ORIGINAL_TIMESTAMP: {**_INTEGER_TEXT, "description": "Kafka's, milliseconds since 1970"},
    dead_letters.FAILED_AT: {"type": "string", "format": "date-time"},
    dead_letters.REDRIVE_COUNT: _INTEGER_TEXT,
}


def _headers(title: str, members: dict[str, dict[str, Any]], optional: set[str]) -> dict[str, Any]:
    return {
        "$schema": _DIALECT,
        "$id": f"{title}.json",
        "title": title,
        "type": "object",
        "properties": members,
        "required": [name for name in members if name not in optional],
        "additionalProperties": True,
    }


if __name__ == "__main__":
    export()
    for page, text in pages().items():
        (DOCS / page).write_text(text, encoding="utf-8")
