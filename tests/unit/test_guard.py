import pytest
import typer

from worker.__main__ import exit_code
from worker.cli import guard
from worker.cli.guard import confirm_change
from worker.errors import NothingMatchedError, PartUnavailableError, RefusedByGuardError


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What a person at a terminal says, one after the other; none means Ctrl-C."""
    given: list[bool] = []

    def confirm(text: str, *, err: bool) -> bool:
        assert err
        assert "3 timers" in text
        if not given:
            raise typer.Abort
        return given.pop(0)

    monkeypatch.setattr(guard, "person_watches", lambda: True)
    monkeypatch.setattr(typer, "confirm", confirm)
    return given


def test_a_reason_is_needed_even_with_yes() -> None:
    with pytest.raises(RefusedByGuardError, match="--reason"):
        confirm_change("This fires 3 timers.", reason=" ", yes=True)


def test_where_nobody_can_be_asked_yes_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "person_watches", lambda: False)
    with pytest.raises(RefusedByGuardError, match="--yes"):
        confirm_change("This fires 3 timers.", reason="why", yes=False)
    confirm_change("This fires 3 timers.", reason="why", yes=True)


def test_a_person_decides_on_a_terminal(answers: list[bool]) -> None:
    answers += [True, False]
    confirm_change("This fires 3 timers.", reason="why", yes=False)
    for _ in ("no", "Ctrl-C"):
        with pytest.raises(RefusedByGuardError, match="nothing was changed"):
            confirm_change("This fires 3 timers.", reason="why", yes=False)


def test_exit_codes_are_those_of_the_contract() -> None:
    errors = PartUnavailableError(""), NothingMatchedError(""), RefusedByGuardError("")
    assert [exit_code(error) for error in errors] == [1, 3, 5]
