"""Compiles the hashed locks, for `make locks`: versions of test.txt in all of them; delete one to take newer versions."""

import subprocess
import sys
from pathlib import Path

UV = Path(sys.executable).with_name("uv")
COMPILE = (
    *("pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.11"),
    *("--no-emit-index-url", "--no-emit-find-links", "--no-annotate"),
    *("--custom-compile-command", "make locks"),
)
SOURCES = ("pyproject.toml", "requirements/build.in")
LOCKS = {
    "test.txt": (*SOURCES, "--extra", "parquet", "--extra", "parts", "--extra", "traces", "--extra", "test"),
    "parts.txt": (*SOURCES, "--extra", "parts", "--constraint", "requirements/test.txt"),
    "run.txt": (*SOURCES, "--constraint", "requirements/test.txt"),
    "docs.txt": ("requirements/docs.in", "requirements/build.in", "--constraint", "requirements/test.txt"),
    "uv.txt": ("requirements/uv.in",),
    "advisories.txt": ("requirements/advisories.in",),
    "checks.txt": ("requirements/checks.in", "--constraint", "requirements/test.txt"),
}


def main() -> None:
    """Write each lock, in this sequence: the others follow test.txt."""
    for name, arguments in LOCKS.items():
        lock = f"requirements/{name}"
        subprocess.run([UV, *COMPILE, *arguments, "--output-file", lock], check=True)  # noqa: S603
        sys.stdout.write(f"{lock}\n")


if __name__ == "__main__":
    main()
