"""What `doctor` reads out of what a part says of itself."""

import pytest

from worker.kafka.topics import release_of
from worker.operate.doctor.brokerage import compare_clocks

NOON_S = 1_795_348_800.0
NOON = "Sun, 22 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("ours_s", "ok"), [(NOON_S, True), (NOON_S + 4, True), (NOON_S + 60, False), (NOON_S - 60, False)]
)
def test_the_brokerages_clock_is_compared_by_its_date(ours_s: float, ok: bool) -> None:
    [check] = compare_clocks(NOON, ours_s, ours_s + 0.2)
    assert check.ok is ok
    assert "from this machine" in check.says


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_an_answer_without_a_date_tells_no_time(date: str | None) -> None:
    assert compare_clocks(date, NOON_S, NOON_S) == []


def test_a_broker_is_known_by_the_requests_that_it_takes() -> None:
    assert release_of(17) == "Kafka 3.9 or newer"
    assert release_of(99) == "Kafka 4.1 or newer"
    assert release_of(4) == "Kafka older than 2.3"
