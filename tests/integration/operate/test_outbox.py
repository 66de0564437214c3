"""What Kafka refused for good is found, put back by an operator, and published with all that waits behind it."""

import json

import pytest

from tests.integration.operate.conftest import DONE, Desk

WHY = ("--reason", "max.message.bytes is raised", "--yes")


async def set_aside(desk: Desk, count: int = 1) -> int:
    for _ in range(count):
        await desk.send("cash.adjust")
        await desk.answer(DONE)
    first = await desk.one("SELECT min(outbox_id) AS id FROM outbox")
    await desk.do("UPDATE outbox SET set_aside_reason = 'too large' WHERE outbox_id = :id", id=first["id"])
    return int(first["id"])


@pytest.mark.prints("outbox list", "outbox redrive")
async def test_a_row_that_was_set_aside_is_listed_and_put_back_with_its_audit(desk: Desk) -> None:
    outbox_id = await set_aside(desk, 3)
    [listed] = await desk.cli_json("outbox", "list")
    assert (listed["outbox_id"], listed["kind"], listed["ordered_by"]) == (outbox_id, "outcome", desk.account_no)
    assert (listed["reason"], listed["behind"]) == ("too large", 2)
    checks = {one["check"]: one for one in json.loads((await desk.cli("doctor", "--output", "json")).stdout)}
    assert (checks["set-aside"]["ok"], "outbox list" in checks["set-aside"]["do"]) == (False, True)
    refused = await desk.cli("outbox", "redrive", str(outbox_id), "--reason", "why")
    assert refused.returncode == 5
    assert "too large" in refused.stderr
    assert len(await desk.cli_json("outbox", "list")) == 1
    done = await desk.cli("outbox", "redrive", str(outbox_id), *WHY)
    assert done.returncode == 0, done.stderr
    assert await desk.cli_json("outbox", "list") == []
    [noted] = await desk.cli_json("audit", "list")
    assert (noted["action"], noted["actor"], noted["before"]["set_aside_reason"]) == (
        "outbox.redrive",
        "ann",
        "too large",
    )
    kinds = [row["kind"] for row in await desk.rows("SELECT kind FROM outbox ORDER BY outbox_id")]
    assert kinds == ["outcome"] * 3 + ["audit"]


async def test_what_is_not_set_aside_is_refused_and_what_is_not_there_matches_nothing(desk: Desk) -> None:
    outbox_id = await set_aside(desk)
    assert (await desk.cli("outbox", "redrive", str(outbox_id), *WHY)).returncode == 0
    again = await desk.cli("outbox", "redrive", str(outbox_id), *WHY)
    assert (again.returncode, "not set aside" in again.stderr) == (5, True)
    assert (await desk.cli("outbox", "redrive", "99999999", *WHY)).returncode == 3
    assert len(await desk.rows("SELECT 1 FROM audit")) == 1
