"""Lists of dead letters at 100,000 rows: the first page takes less than a second, and pages meet."""

from typing import Any

from tests.integration.store.world import World
from tests.support.quickest import quickest_s
from worker.store.engine import transaction
from worker.store.letters import Chosen, group_dead_letters, list_dead_letters

ROWS = 100_000
GROUPS = 300
FILL = f"""
    INSERT INTO dead_letters (dead_letter_id, topic, epoch, partition, "offset", reason, code, field, message, fingerprint,
                              failed_at, headers, state, triage_reason)
    SELECT gen_random_uuid(), CASE WHEN i % 3 = 0 THEN 'freezes' ELSE 'orders' END, 1, i % 12, i, 'REFUSED', 'CODE', 'a.b',
           'a.b: must be so', lpad(to_hex(i % {GROUPS}), 16, '0'), now() - i * interval '1 s',
           decode(repeat('ab', 400), 'hex'), CASE WHEN i % 7 = 0 THEN 'ignored' ELSE 'new' END, 'why'
    FROM generate_series(1, {ROWS}) i
"""


async def timed(world: World, ask: Any) -> tuple[float, list[dict[str, Any]]]:
    async with transaction(world.engine) as connection:
        found = await ask(connection)
    return await quickest_s(world.engine, ask), found


async def test_the_first_page_of_a_hundred_thousand_takes_less_than_a_second(world: World) -> None:
    await world.sql(FILL)
    asked = {
        "groups": lambda c: group_dead_letters(c, limit=101),
        "groups of a state": lambda c: group_dead_letters(c, chosen=Chosen(state="ignored"), limit=101),
        "groups of a topic": lambda c: group_dead_letters(c, chosen=Chosen(topic="freezes"), limit=101),
        "one by one": lambda c: list_dead_letters(c, fingerprint=None, after=None, limit=101),
        "one by one, none": lambda c: list_dead_letters(
            c, fingerprint=None, chosen=Chosen(reason="TOO_LARGE"), after=None, limit=101
        ),
        "of a group": lambda c: list_dead_letters(c, fingerprint="0" * 15 + "7", after=None, limit=101),
    }
    found = {name: await timed(world, ask) for name, ask in asked.items()}
    assert {name: took for name, (took, _) in found.items() if took >= 1} == {}
    assert {name: len(rows) for name, (_, rows) in found.items()} == {
        **dict.fromkeys(asked, 101),
        "groups of a topic": 100,
        "one by one, none": 0,
    }
    seen: list[str] = []
    while True:
        after = seen[-1] if seen else None
        async with transaction(world.engine) as connection:
            page = await group_dead_letters(connection, after=after, limit=77)
        if not page:
            break
        seen += [row["fingerprint"] for row in page]
        assert all(row["count"] == row["new"] + row["ignored"] for row in page)
    assert len(seen) == len(set(seen)) == GROUPS
