"""Two releases at one database while commands flow: an upgrade, a roll-back, and what neither may do."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from sandbox.parts.brokerage import Brokerage
from sandbox.parts.programs import Programs
from tests.chaos.conftest import CHAOS, Database, assert_clean, hear
from tests.chaos.releases import Release, before_the_newest_revision, from_git, open_release, with_new_name
from tests.chaos.rollout import Load, Rollout, under_load
from tests.chaos.storm import all_ended
from tests.support import SandboxClient, Topics, wait_until
from tests.support.stuck import stuck
from tests.support.worker import clean_env

FROM = "LEDGER_TEST_UPGRADE_FROM"
REVISION = "SELECT version_num FROM alembic_version"
BOTH_NAMES = "SELECT bool_and(took_ms = duration_ms), count(*) > 0 FROM attempts WHERE took_ms IS NOT NULL"
TYPES_COUNT = 10


@pytest.fixture
def brokerage(start_brokerage: Callable[..., Brokerage]) -> SandboxClient:
    options = ("--latency-ms", "15", "--latency-jitter-ms", "15", "--sweep-delay-s", "1")
    return SandboxClient(start_brokerage(*options).url)


@pytest.fixture
def rollout(
    empty_database_url: str, kafka: str, topics: Topics, topics_prefix: str, worker_env: dict[str, str]
) -> Iterator[Rollout]:
    """No worker yet, on a database without tables."""
    own = {**CHAOS, "LEDGER_EXPIRES_AHEAD_MIN_S": "0.5", "LEDGER_DATABASE_URL": empty_database_url}
    made = Rollout(Database(empty_database_url), clean_env({**worker_env, **own}))
    yield made
    made.close()


@pytest.fixture
def present(programs: Programs) -> Release:
    return open_release(programs)


async def assert_nothing_went_wrong(kafka: str, topics: Topics, brokerage: SandboxClient, load: Load, url: str) -> None:
    """Take the measure once every command is answered and nothing waits."""
    told = await hear(kafka, topics, brokerage, load.commands, load.sent, until=all_ended)
    assert len(load.types()) == TYPES_COUNT
    assert_clean(told)
    with psycopg.connect(url, autocommit=True) as connection:
        wait_until(lambda: not stuck(connection), 20, lambda: "\n".join(stuck(connection)))


def must(release: Release, rollout: Rollout, *arguments: str) -> None:
    status, said = release.types(rollout.env, *arguments)
    assert status == 0, f"{arguments} ended with {status}: {said}"


def is_refused(release: Release, rollout: Rollout, *arguments: str) -> str:
    """Return the one sentence with which a release refuses a command."""
    status, said = release.types(rollout.env, *arguments)
    assert status == 1, f"{arguments} ended with {status}: {said}"
    [sentence] = said.splitlines()
    return sentence


async def test_a_column_gets_another_name_under_load_and_back_and_for_good_without_loss(
    kafka: str,
    topics: Topics,
    brokerage: SandboxClient,
    programs: Programs,
    present: Release,
    rollout: Rollout,
    tmp_path: Path,
) -> None:
    later = open_release(programs, with_new_name(tmp_path / "later", contracted=False))
    last = open_release(programs, with_new_name(tmp_path / "last", contracted=True))

    def upgrade_and_back() -> None:
        rollout.start(present, present)
        rollout.work()
        gives_up_where_a_lock_is_kept(rollout, later)
        must(later, rollout, "migrate")
        rollout.start(later)
        assert rollout.at_work() == {f"ledger-worker {one.newest}" for one in (present, later)}
        rollout.stop(2)
        must(present, rollout, "migrate")  # as compose and charts do it before each start, of an older release too
        assert rollout.database.scalar(REVISION) == later.newest
        rollout.start(present)
        rollout.stop(1)

    def contract() -> None:
        assert rollout.database.rows(BOTH_NAMES) == [(True, True)]
        assert "connections of older ones are open" in is_refused(last, rollout, "migrate")
        assert rollout.database.scalar(REVISION) == later.newest
        rollout.start(later)
        rollout.stop(1)
        must(last, rollout, "migrate")
        rollout.work()
        for command in ("run", "migrate"):
            assert f"too new for this release, which ends at {present.newest}" in is_refused(present, rollout, command)
        rollout.work()

    must(present, rollout, "migrate")
    must(present, rollout, "topics", "apply")
    async with under_load(kafka, topics, brokerage) as load:
        await asyncio.to_thread(upgrade_and_back)
        await asyncio.to_thread(contract)
    await assert_nothing_went_wrong(kafka, topics, brokerage, load, rollout.database.url)


def gives_up_where_a_lock_is_kept(rollout: Rollout, later: Release) -> None:
    """A reader keeps the table: the migration waits its second and no longer, and what queued behind it goes on."""
    with psycopg.connect(rollout.database.url) as reader:
        reader.execute("LOCK TABLE attempts IN ACCESS SHARE MODE")
        before = rollout.database.scalar(REVISION)
        assert "a lock was not had in time" in is_refused(later, rollout, "migrate")
        rollout.work()
        assert rollout.database.scalar(REVISION) == before


async def test_the_release_before_and_this_one_take_turns_under_load_without_loss(
    kafka: str,
    topics: Topics,
    brokerage: SandboxClient,
    programs: Programs,
    present: Release,
    rollout: Rollout,
    tmp_path: Path,
) -> None:
    ref = os.environ.get(FROM) or before_the_newest_revision()
    if ref is None:
        pytest.skip("there is no commit here with another newest revision: no git, or a clone without history")
    earlier = open_release(programs, from_git(ref, tmp_path / "earlier"))

    def upgrade_and_back() -> None:
        rollout.start(earlier, earlier)
        rollout.work()
        must(present, rollout, "migrate")
        rollout.start(present)
        rollout.stop(1)
        rollout.start(present)
        rollout.stop(1)
        status, said = earlier.types(rollout.env, "migrate")
        print(f"{ref} (revision {earlier.newest}): migrate ended with {status}: {said}")  # noqa: T201
        if status == 0:
            rollout.start(earlier)
            rollout.stop(2)
        else:  # of a release from before 0011, which takes no other revision than its own; what works goes on
            assert earlier.newest < "0011"
            assert len(said.splitlines()) == 1
            rollout.work()

    must(earlier, rollout, "migrate")
    must(earlier, rollout, "topics", "apply")
    async with under_load(kafka, topics, brokerage) as load:
        await asyncio.to_thread(upgrade_and_back)
    await assert_nothing_went_wrong(kafka, topics, brokerage, load, rollout.database.url)
