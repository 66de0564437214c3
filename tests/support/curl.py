"""As much of curl as the pages use, for a machine that has only Python."""

import sys
from pathlib import Path

_CURL = """
import sys, urllib.request
words = [word for word in sys.argv[1:] if word != "-s"]
method = words.pop(words.index("-X") + 1) if "-X" in words else "GET"
data = words.pop(words.index("-d") + 1).encode() if "-d" in words else None
(url,) = (word for word in words if not word.startswith("-"))
sys.stdout.write(urllib.request.urlopen(urllib.request.Request(url, data, method=method)).read().decode() + chr(10))
"""


def put_curl(folder: Path) -> None:
    """Put a program `curl` into this folder."""
    (folder / "curl").write_text(f"#!{sys.executable}\n{_CURL}")
    (folder / "curl").chmod(0o755)
