import json
import sys
from datetime import UTC, datetime

import pytest

from worker.cli.output import OutputForm, Row, print_rows

ROWS: list[Row] = [
    {"account_no": "H10240001-with-a-very-long-name", "count": 7, "rate": 0.5, "held": None, "more": "x"},
    {"account_no": "H2", "count": 12, "rate": 2.0, "held": True, "more": datetime(2026, 11, 22, tzinfo=UTC)},
]
COLUMNS = ("account_no", "count", "rate", "held")


def test_a_pipe_gets_aligned_text_and_nothing_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, COLUMNS, OutputForm.TABLE)
    assert capsys.readouterr().out.splitlines() == [
        "account_no                       count  rate  held",
        "H10240001-with-a-very-long-name  7      0.5   -",
        "H2                               12     2     true",
    ]


def test_json_is_one_list_with_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, COLUMNS, OutputForm.JSON)
    first, second = json.loads(capsys.readouterr().out)
    assert first == ROWS[0]
    assert second["more"] == "2026-11-22 00:00:00+00:00"


def test_nothing_found_is_nothing_printed_or_an_empty_list(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([], COLUMNS, OutputForm.TABLE)
    assert capsys.readouterr().out == ""
    print_rows([], COLUMNS, OutputForm.JSON)
    assert json.loads(capsys.readouterr().out) == []


def test_a_narrow_terminal_never_cuts_what_names_a_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_rows(ROWS, COLUMNS, OutputForm.TABLE)
    shown = capsys.readouterr().out
    assert "H10240001-with-a-very-long-name" in shown
    assert "…" not in shown
