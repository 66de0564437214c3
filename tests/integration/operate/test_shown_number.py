"""A number that a person gives is looked at where the brokerage can be asked: not ours is refused, unknown is said."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from sandbox.parts.brokerage import Brokerage
from tests.integration.operate.conftest import TIMEOUT, Desk, OpenDesk
from tests.support.worker import KEYS
from worker.ledger.verdicts import Confirmed
from worker.whale.client import WhaleClient
from worker.whale.entry import Intent, Variants
from worker.whale.operations import REGISTRY
from worker.whale.sign import Credentials
from worker.whale.verdict import judge

WHY = ("--reason", "seen in the back office", "--yes")


@pytest.fixture
def asking(open_desk: OpenDesk, start_brokerage: Callable[..., Brokerage]) -> Desk:
    """A desk whose command line knows the brokerage's address; its claims and answers are still made up."""
    return open_desk(LEDGER_WHALE_BASE_URL=start_brokerage().url)


async def applied(desk: Desk, type_: str, payload: dict[str, Any], command_id: UUID, account_no: str) -> str:
    """Let the brokerage do what a call would have done; returns its number."""
    settings = desk.settings
    credentials = Credentials(*KEYS.values())
    operation = REGISTRY[type_]
    async with WhaleClient(url=settings.whale_base_url, credentials=credentials, timeout_s=10, pool_size=1) as client:
        request = operation.build(Intent(command_id, account_no, payload), Variants())
        verdict = judge(operation, await client.read(request))
    assert isinstance(verdict, Confirmed), verdict
    number = getattr(verdict.numbers, operation.makes or "")
    assert isinstance(number, str)
    return number


async def doubtful(desk: Desk, type_: str) -> tuple[UUID, dict[str, Any]]:
    """Send a command whose call is in doubt; returns its id and payload."""
    command_id = await desk.send(type_)
    await desk.answer(TIMEOUT)
    row = await desk.one("SELECT payload FROM commands WHERE command_id = :id", id=command_id)
    return command_id, row["payload"]


@pytest.mark.parametrize("type_", ["cash.adjust", "position.adjust", "cash.freeze", "order.place"])
async def test_the_number_of_what_was_applied_is_taken_and_kept_with_the_evidence(asking: Desk, type_: str) -> None:
    command_id, payload = await doubtful(asking, type_)
    number = await applied(asking, type_, payload, command_id, asking.account_no)
    done = await asking.cli("in-doubt", "resolve", str(command_id), "--applied", number, *WHY)
    assert done.returncode == 0, done.stderr
    told = await asking.one("SELECT detail ->> 'checked' AS checked FROM evidence")
    assert number in told["checked"]
    assert told["checked"] in done.stderr


async def test_another_account_s_order_and_one_without_our_tag_are_refused_with_what_was_seen(asking: Desk) -> None:
    command_id, payload = await doubtful(asking, "order.place")
    other = UUID(int=9)
    not_tagged = await applied(asking, "order.place", payload, other, asking.account_no)
    elsewhere = await applied(asking, "order.place", payload, command_id, "H777")
    for number, saw in ((not_tagged, "not our tag"), (elsewhere, "shows no order")):
        done = await asking.cli("in-doubt", "resolve", str(command_id), "--applied", number, *WHY)
        assert done.returncode == 5
        assert saw in done.stderr
    assert await asking.state(command_id) != "succeeded"


async def test_a_booking_of_another_amount_is_refused_with_what_was_seen(asking: Desk) -> None:
    command_id, payload = await doubtful(asking, "cash.adjust")
    changes: tuple[dict[str, str], ...] = ({"amount": "7.00"}, {"currency": "HKD"}, {"direction": "DEBIT"})
    for number, change in enumerate(changes):
        wrong = await applied(asking, "cash.adjust", {**payload, **change}, UUID(int=20 + number), asking.account_no)
        done = await asking.cli("in-doubt", "resolve", str(command_id), "--applied", wrong, *WHY)
        assert done.returncode == 5
        assert f"{wrong} is Cash Adjustment" in done.stderr


async def test_what_the_history_does_not_show_yet_is_said_and_the_person_s_word_counts(asking: Desk) -> None:
    command_id, _ = await doubtful(asking, "cash.adjust")
    done = await asking.cli("in-doubt", "resolve", str(command_id), "--applied", "S404", *WHY)
    assert done.returncode == 0, done.stderr
    assert "none of them S404" in done.stderr


async def test_where_the_brokerage_cannot_be_asked_the_person_s_word_counts_and_that_is_said(
    open_desk: OpenDesk, asking: Desk
) -> None:
    away = {"LEDGER_WHALE_BASE_URL": "http://127.0.0.1:1"}
    for desk, told in (
        (open_desk(), "the brokerage was not asked: its settings are not given"),
        (open_desk(**away), "could not be read: no answer (refused)"),
    ):
        command_id, _ = await doubtful(desk, "cash.adjust")
        done = await desk.cli("in-doubt", "resolve", str(command_id), "--applied", f"S{desk.partition}", *WHY)
        assert done.returncode == 0, done.stderr
        assert told in done.stderr
        [kept] = await desk.rows("SELECT detail ->> 'checked' AS it FROM evidence WHERE command_id = :i", i=command_id)
        assert told in kept["it"]
    command_id, _ = await doubtful(asking, "temp.adjust")
    done = await asking.cli("in-doubt", "resolve", str(command_id), "--applied", "TA77", *WHY)
    assert done.returncode == 0
    assert "no look-up of temporary adjustments" in done.stderr


async def test_a_refused_key_says_nothing_of_the_number(
    open_desk: OpenDesk, start_brokerage: Callable[..., Brokerage]
) -> None:
    desk = open_desk(LEDGER_WHALE_BASE_URL=start_brokerage().url, LEDGER_WHALE_APP_SECRET="another")
    command_id, _ = await doubtful(desk, "order.place")
    done = await desk.cli("in-doubt", "resolve", str(command_id), "--applied", "12345", *WHY)
    assert done.returncode == 0, done.stderr
    assert "order 12345 could not be looked at" in done.stderr
