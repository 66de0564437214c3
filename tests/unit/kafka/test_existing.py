"""A topic is missing where the broker says so, and only there."""

import pytest
from aiokafka.errors import LeaderNotAvailableError, TopicAuthorizationFailedError

from worker.errors import RightMissingError
from worker.kafka.past import existing

THERE = {"error_code": 0, "topic": "there", "partitions": [{"partition": 0}]}


def test_a_topic_that_the_broker_does_not_know_is_left_out() -> None:
    missing = {"error_code": 3, "topic": "missing", "partitions": []}
    assert existing([THERE, missing]) == {"there": [{"partition": 0}]}


@pytest.mark.parametrize(
    ("error", "told"),
    [(LeaderNotAvailableError, LeaderNotAvailableError), (TopicAuthorizationFailedError, RightMissingError)],
)
def test_what_the_broker_will_not_say_is_no_absence(error: type[Exception], told: type[Exception]) -> None:
    with pytest.raises(told, match="hidden"):
        existing([THERE, {"error_code": error.errno, "topic": "hidden", "partitions": []}])  # type: ignore[attr-defined]
