"""Outlives whoever started the parts, kills what is left of them, removes their folder, and ends.

Run as a script of its own: `python reaper.py FOLDER`, with a pipe as its input. Each line is `+PID` (kill that group when the
writer is gone) or `-PID` (it has ended). The end of the input is the death of the writer, however it died.
"""

import contextlib
import os
import shutil
import signal
import sys


def main() -> None:
    """Read lines until the writer is gone, then kill and remove."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        if line[0] == "+":
            groups.add(pid)
        else:
            groups.discard(pid)
    for pid in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
