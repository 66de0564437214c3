"""The runbooks of doubts and of parked commands, walked to their ends: each command line does what its page says."""

from uuid import UUID

from tests.factories import COMMAND_ID, EARLIER_ID
from tests.integration.operate.conftest import DONE, Desk
from tests.support.runbooks import commands_of
from tests.support.worker import CHECKOUT
from worker.ledger.decide import SIGNATURE_ALONE
from worker.ledger.verdicts import NotSent

RUNBOOKS = CHECKOUT / "docs/runbooks"
ALONE = NotSent(SIGNATURE_ALONE, "HTTP 403, code 403201: signature")


async def walk(desk: Desk, page: str) -> None:
    """Type every command of a page, in its sequence; what changes something is refused first, for nobody can be asked."""
    walked = 0
    for arguments in commands_of(RUNBOOKS / page):
        changes = "--reason" in arguments
        if changes:
            assert (await desk.cli(*arguments)).returncode == 5
        done = await desk.cli(*arguments, *(("--yes",) if changes else ()))
        # `doctor` misses Kafka and the brokerage here
        assert done.returncode == (1 if arguments == ["doctor"] else 0), f"{arguments}: {done.stderr}"
        walked += 1
    assert walked >= 5


async def test_the_runbook_of_parked_commands_ends_with_nothing_parked(desk: Desk) -> None:
    for command_id in (COMMAND_ID, EARLIER_ID):
        await desk.send("cash.adjust", command_id=command_id)
        await desk.answer(ALONE)
    await walk(desk, "parked.md")
    assert await desk.rows("SELECT 1 FROM parked") == []
    await desk.answer(DONE)
    assert [await desk.state(UUID(one)) for one in (COMMAND_ID, EARLIER_ID)] == ["succeeded", "rejected"]


async def test_the_runbook_of_doubts_shows_what_is_to_be_decided_and_its_forms_decide_it(desk: Desk) -> None:
    await desk.parked("temp.adjust", command_id=COMMAND_ID)
    await walk(desk, "in-doubt.md")
    assert (await desk.cli("in-doubt", "resolve", COMMAND_ID, "--not-applied", "--reason", "seen")).returncode == 5
    for form in (("--not-applied", "--resend"), ("--applied", "--number-unknown")):
        assert " ".join(form) in (RUNBOOKS / "in-doubt.md").read_text()
    done = await desk.cli(
        "in-doubt", "resolve", COMMAND_ID, "--applied", "--number-unknown", "--reason", "seen", "--yes"
    )
    assert done.returncode == 0, done.stderr
    assert (await desk.cli("in-doubt", "list")).stdout == ""
