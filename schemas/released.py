"""The documents of released versions, which are never changed: what `schemas check` compares with.

`python -m schemas.released VERSION` keeps today's documents as those of a version, when it is released.
"""

import json
import sys
from pathlib import Path
from typing import Any

from schemas.compatible import INPUTS, OUTPUTS
from schemas.export import documents

HERE = Path(__file__).parent / "released"


def last() -> Path:
    """Return the folder of the last version that was released."""
    return max((path for path in HERE.iterdir() if path.is_dir()), key=lambda path: _numbers(path.name))


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the documents of a folder by their files' names. Raises OSError, and ValueError for what is not JSON."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        found[path.name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def keep(version: str) -> Path:
    """Write today's documents as those of a version. Raises FileExistsError where it has some already."""
    folder = HERE / ".".join(map(str, _numbers(version)))
    folder.mkdir(parents=True)
    for name, document in documents().items():
        if name in INPUTS | OUTPUTS:
            text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


if __name__ == "__main__":
    sys.stdout.write(f"{keep(sys.argv[1])}\n")
