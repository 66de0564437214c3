"""The Dockerfile by the parser of BuildKit, and that our own reading of it, which the other checks stand on, is the same.

`python -m tests.checks.dockerfile`, or `make checks`; the parser is the PyPI package `dockerfile`.
"""

import re
import sys

import dockerfile

from tests.tidy import containers
from tests.tidy.tree import CHECKOUT


def main() -> None:
    """Print what is wrong and end with 1, or say that all is valid."""
    try:
        official = dockerfile.parse_file(str(CHECKOUT / "Dockerfile"))
    except dockerfile.GoParseError as error:
        sys.exit(f"Dockerfile: {error}")
    theirs = [(one.cmd.upper(), one.flags, _bare(one.original)) for one in official]
    ours = [(one.word, one.flags, _bare(" ".join((one.word, *one.flags, one.value)))) for one in containers.steps()]
    if theirs != ours:
        sys.exit(f"Dockerfile is read otherwise by BuildKit:\n{theirs}\n{ours}")
    sys.stdout.write(f"{len(theirs)} instructions of the Dockerfile are valid by BuildKit's parser\n")


def _bare(text: str) -> str:
    return re.sub(r"\s+", "", text)


if __name__ == "__main__":
    main()
