"""What an operator is told to type where a lane waits for a person."""

import pytest

from worker.ledger.brakes import ACCOUNT, ALL, DOUBTS, OPERATION, Brake
from worker.operate.holds import what_lifts


@pytest.mark.parametrize(
    ("brake", "command"),
    [
        (Brake(ALL, "", "x"), "ledger-worker resume --reason …"),
        (Brake(OPERATION, "order.place", "x"), "ledger-worker resume --operation order.place --reason …"),
        (Brake(DOUBTS, "order.place", "x"), "ledger-worker resume --operation order.place --reason …"),
        (Brake(ACCOUNT, "H1", "x"), "ledger-worker accounts release H1 --reason …"),
    ],
)
def test_a_lane_behind_a_brake_is_told_what_releases_it(brake: Brake, command: str) -> None:
    assert what_lifts(brake.mark() + brake.reason, "H1") == command


def test_what_only_time_ends_names_no_command() -> None:
    assert what_lifts("in doubt: sent again", "H1") is None
    assert what_lifts(None, "H1") is None
