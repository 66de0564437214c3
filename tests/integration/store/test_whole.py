"""A finish is whole or not at all, wherever in it Postgres goes away."""

import pytest

from tests.integration.store.world import World, done
from tests.support.commands import new_account
from worker.errors import PartUnavailableError


@pytest.fixture
def account() -> str:
    return new_account()


@pytest.mark.parametrize("table", ["outbox", "outcomes", "command_ids", "lanes"])
async def test_a_verdict_its_outcome_and_its_lane_are_recorded_together_or_not_at_all(
    world: World, account: str, table: str
) -> None:
    """Postgres goes away while the statement of one of these tables runs."""
    command_id = await world.accept_new("cash.adjust", account)
    turn = await world.claim_one()
    await world.sql("""
        CREATE FUNCTION go_away() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'shutting down' USING ERRCODE = '57P01'; END $$
    """)
    await world.sql(f"CREATE TRIGGER away BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION go_away()")
    with pytest.raises(PartUnavailableError):
        await world.finish(turn, done(serial_num="S1"))
    await world.sql(f"DROP TRIGGER away ON {table}")
    attempt = await world.one("SELECT known FROM attempts")
    assert (await world.state(command_id), (await world.lane(account)).state, attempt.known) == (
        "sending",
        "leased",
        "open",
    )
    assert await world.outcomes(account) == []
    await world.finish(turn, done(serial_num="S1"))
    assert await world.types(account) == ["command.succeeded"]
    assert await world.claim() == []
