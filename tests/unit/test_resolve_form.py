"""What cannot be meant is a usage error of `in-doubt resolve`, before anything is looked at."""

from uuid import UUID

import pytest
from typer.testing import CliRunner

from worker.cli.app import build

WHY = ("--reason", "seen in the back office", "--yes")
SOME = str(UUID(int=7))


@pytest.mark.parametrize(
    "arguments",
    [
        ("not-an-id", "--applied", *WHY),
        (SOME, *WHY),
        (SOME, "--applied", "--not-applied", *WHY),
        (SOME, "--applied", "TA 1", *WHY),
        (SOME, "--applied", "A" * 65, *WHY),
        (SOME, "--applied", "TA1\n", *WHY),
        (SOME, "--applied", "TA1", "--number-unknown", *WHY),
        (SOME, "--applied", "--resend", *WHY),
        (SOME, "--not-applied", "--number-unknown", *WHY),
        (SOME, "--not-applied", "--resend", "--expiry", *WHY),
        (SOME, "--applied", "TA1", "--expiry", *WHY),
        (SOME, "--resend", *WHY),
        (SOME, "--not-applied", "--yes"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(build(), ["in-doubt", "resolve", *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
