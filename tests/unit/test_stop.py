from typing import Any

import pytest

from worker.ledger.brakes import ACCOUNT, ALL, DOUBTS, OPERATION
from worker.operate.brake import PARTITION, Stop


@pytest.mark.parametrize(
    ("stop", "fields"),
    [
        (Stop(ALL), {"kind": "all"}),
        (Stop(OPERATION, "order.place"), {"kind": "operation", "operation": "order.place"}),
        (Stop(DOUBTS, "order.place"), {"kind": "operation", "operation": "order.place"}),
        (Stop(ACCOUNT, "H1"), {"kind": "account", "account_no": "H1"}),
        (Stop(PARTITION, topic="t", partition=3), {"kind": "partition", "topic": "t", "partition": 3}),
    ],
)
def test_what_is_stopped_is_told_to_machines_by_its_kind_and_name(stop: Stop, fields: dict[str, Any]) -> None:
    assert stop.fields() == fields
