"""When reading may go on from a stored position."""

import pytest

from worker.ledger.positions import Position, ReasonKind, judge_position

AT_10 = Position(next_offset=10, last_offset=9, last_digest=b"d")


@pytest.mark.parametrize(
    ("position", "start", "end", "digest", "kind"),
    [
        (None, 5, 9, None, None),
        (AT_10, 0, 10, b"d", None),
        (AT_10, 0, 99, b"d", None),
        (AT_10, 10, 10, None, None),  # all we read was removed by retention, in its time
        (Position(10, 7, b"d"), 8, 12, None, None),  # control records lie between
        (AT_10, 11, 20, None, ReasonKind.RANGE_LOST),
        (AT_10, 0, 9, None, ReasonKind.NOT_THE_SAME_TOPIC),
        (AT_10, 0, 0, None, ReasonKind.NOT_THE_SAME_TOPIC),
        (AT_10, 0, 20, b"other", ReasonKind.NOT_THE_SAME_TOPIC),
        (AT_10, 0, 20, None, ReasonKind.NOT_THE_SAME_TOPIC),
        (Position(10), 0, 20, None, None),  # adopted: a new epoch has no last record
        (Position(10, stopped_reason="1,000 refusals in a row"), 0, 20, None, ReasonKind.STOPPED),
    ],
)
def test_a_position_is_borne_out_by_the_log_or_refused(
    position: Position | None, start: int, end: int, digest: bytes | None, kind: ReasonKind | None
) -> None:
    reason = judge_position(position, start, end, digest, "orders[3]")
    assert (reason.kind if reason else None) == kind
    assert reason is None or "orders[3]" in reason.sentence
