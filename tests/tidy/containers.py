"""The Dockerfile and docker-compose.yml as data: what reads them here must see what a container engine would do."""

import json
import re
import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from tests.tidy.tree import CHECKOUT


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: `COPY`, its flags, and all after them."""

    word: str
    flags: tuple[str, ...]
    value: str

    @property
    def argv(self) -> list[str]:
        """The words of the value: those of a JSON list, else as a shell splits them."""
        value = self.value.removeprefix("CMD ") if self.word == "HEALTHCHECK" else self.value
        return list(json.loads(value)) if value.startswith("[") else shlex.split(value)


def stages() -> list[list[Step]]:
    """The steps of each stage, its FROM first; what stands before the first FROM is left out."""
    found: list[list[Step]] = []
    for step in steps():
        if step.word == "FROM":
            found.append([])
        if found:
            found[-1].append(step)
    return found


def steps() -> list[Step]:
    """Every instruction, in sequence."""
    lines = [line for line in (CHECKOUT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [_step(line) for line in whole.splitlines() if line.strip()]


def _step(line: str) -> Step:
    word, _, rest = line.partition(" ")
    flags = []
    while rest.lstrip().startswith("--"):
        flag, _, rest = rest.lstrip().partition(" ")
        flags.append(flag)
    return Step(word.upper(), tuple(flags), rest.strip())


def one(stage: list[Step], word: str) -> Step:
    """The only step of that word."""
    [found] = [step for step in stage if step.word == word]
    return found


def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors and merges resolved, its variables as they stand."""
    read: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    return read


def argv(service: dict[str, Any], image_entrypoint: list[str], image_command: list[str]) -> list[str]:
    """What a service runs: its own words where it has them, else the image's; `$$` is a dollar."""
    entrypoint = service.get("entrypoint", image_entrypoint)
    command = service.get("command", [] if "entrypoint" in service else image_command)
    return [word.replace("$$", "$") for word in (*entrypoint, *command)]
