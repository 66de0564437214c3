from datetime import UTC, datetime
from typing import Any, cast

from aiokafka.structs import OffsetAndTimestamp

from worker.kafka.past import Past


class Reader:
    """Answers as aiokafka does, which takes no time before 1970."""

    async def offsets_for_times(self, wanted: dict[Any, int]) -> dict[Any, OffsetAndTimestamp]:
        if min(wanted.values()) < 0:
            raise ValueError(wanted)
        return {place: OffsetAndTimestamp(at_ms, at_ms) for place, at_ms in wanted.items()}


async def test_from_a_time_before_1970_a_log_is_read_from_its_start() -> None:
    past = Past(cast("Any", None), cast("Any", Reader()), "")
    assert await past.offsets_at([("t", 0)], datetime(1969, 12, 31, tzinfo=UTC)) == {("t", 0): 0}
    assert await past.offsets_at([("t", 0)], datetime(1970, 1, 2, tzinfo=UTC)) == {("t", 0): 86_400_000}
