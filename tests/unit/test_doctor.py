"""What `doctor` reads out of what a part says of itself."""

import pytest

from worker.kafka.topics import release_of
from worker.operate.doctor.brokerage import compare_clocks, weigh
from worker.whale.wire import Answer

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


def said_of(status: int, body: str) -> tuple[bool, str, str]:
    check = weigh("https://whale", Answer(status, body.encode(), {}, 0.0, 0.1))
    assert check.name == "brokerage"
    return check.ok, check.says, check.do


PAGE = "<html>welcome</html>"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((status, PAGE) for status in (200, 204, 301, 400, 401, 403, 404, 408, 429, 500, 503)),
        *((status, '{"code":1234,"message":"no"}') for status in (403, 408, 429, 500, 503)),
        (200, '{"code":429001,"message":"slow down"}'),
        (200, '{"code":500,"message":"sorry"}'),
        (400, '{"code":500,"message":"sorry"}'),
        (200, '{"code":403202,"message":"repeated"}'),
        (202, '{"code":0,"data":{}}'),
    ],
)
def test_an_answer_that_is_not_about_the_question_does_not_prove_that_the_signature_was_taken(
    status: int, body: str
) -> None:
    ok, says, do = said_of(status, body)
    assert not ok
    assert f"HTTP {status}" in says
    assert do


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, '{"code":0,"data":{"orders":[],"has_more":false}}'),
        (200, '{"code":403112,"message":"no such account"}'),
        (400, '{"code":403112,"message":"no such account"}'),
        (401, '{"code":401011,"message":"the account is closed"}'),
    ],
)
def test_a_business_answer_proves_that_the_signature_was_taken(status: int, body: str) -> None:
    assert said_of(status, body)[0]
