"""The sink into files: whole or not there, each outcome once, whatever is killed."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from ledger_client import Connection, Topics
from ledger_client.consume import COLUMNS, Completeness, open_reading, parquet, row_of
from ledger_client.consume.parquet import INDEX, ParquetSink, open_parquet
from ledger_client.consume.reading import Batch
from ledger_client.errors import ContradictionError, LedgerClientError, LostError, SettingsError
from tests.integration.client.conftest import PARTITIONS, Fact, Kit, Published, outcome_of
from tests.support import wait_until

Facts = Callable[..., list[Fact]]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def drafts(folder: Path) -> list[Path]:
    return list(folder.glob(".*.writing"))


def kept(folder: Path) -> list[Fact]:
    """What the files hold, in the sequence of accounts' numbers."""
    found: list[Fact] = []
    for path in files(folder):
        table = pq.read_table(path, columns=["account_no", "account_seq"])
        found += zip(*(column.to_pylist() for column in table.columns), strict=True)
    return sorted(found, key=lambda fact: (fact[1], fact[0]))


def to(folder: Path, *more: str) -> tuple[str, ...]:
    return "--to", "parquet", "--folder", str(folder), *more


def batch_of(facts: list[Fact], until: int) -> Batch:
    batch = Batch()
    batch.rows = [row_of(json.dumps(outcome_of(fact)).encode(), 0, at) for at, fact in enumerate(facts)]
    batch.read = {0: (0, until)}
    return batch


async def stored(folder: Path, *batches: Batch, topic: str = "t") -> dict[int, int]:
    """Store batches, a file each, and return the offsets at which a sink that is opened afterwards would go on."""
    async with open_parquet(folder, topic, rows_max=1, every_s=60) as sink:
        for batch in batches:
            await sink.store(batch)
    async with open_parquet(folder, topic, rows_max=1, every_s=60) as sink:
        return dict(await sink.offsets())


def test_each_outcome_is_kept_once_however_often_it_is_killed(
    published: Published, kit: Kit, tmp_path: Path, facts: Facts
) -> None:
    whole = facts(5, 300)
    published.add([*whole, *facts(5, 20)])
    pace = ("--file-rows", "40", "--file-every-s", "0")
    for count in (1, 4):
        running = kit.start(*to(tmp_path, *pace))
        wait_until(lambda wanted=count: len(files(tmp_path)) >= wanted)  # type: ignore[misc]
        running.kill()
    ended = kit.run(*to(tmp_path, *pace), "--until-end")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["missing"] == []
    assert kept(tmp_path) == whole
    assert drafts(tmp_path) == []
    assert set(pq.read_table(files(tmp_path)[0]).schema.names) >= {"event_id", "payload", "error_code"}


async def test_a_kill_before_the_rename_leaves_nothing_and_one_after_it_leaves_all(
    tmp_path: Path, facts: Facts, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = facts(2, 3), [("ACC00", 4)], [("ACC00", 5)]
    assert await stored(tmp_path, batch_of(first, 6)) == {0: 6}

    def killed(*_: object) -> None:
        raise LedgerClientError("killed")

    with monkeypatch.context() as at_the_rename:
        at_the_rename.setattr(Path, "rename", killed)
        with pytest.raises(LedgerClientError, match="killed"):
            await stored(tmp_path, batch_of(second, 7))
    assert len(drafts(tmp_path)) == 1
    assert await stored(tmp_path) == {0: 6}
    assert kept(tmp_path) == first
    assert drafts(tmp_path) == []
    with monkeypatch.context() as behind_the_rename:
        behind_the_rename.setattr(ParquetSink, "_commit", killed)
        with pytest.raises(LedgerClientError, match="killed"):
            await stored(tmp_path, batch_of(second, 7))
    assert await stored(tmp_path) == {0: 7}
    assert await stored(tmp_path, batch_of([*second, *third], 8)) == {0: 8}
    assert kept(tmp_path) == [*first, *second, *third]


async def test_a_lost_index_is_made_anew_from_the_files(tmp_path: Path, facts: Facts) -> None:
    await stored(tmp_path, batch_of(facts(2, 3), 6), batch_of([("ACC00", 6)], 9))
    (tmp_path / INDEX).unlink()
    assert await stored(tmp_path, batch_of([("ACC00", 6), ("ACC01", 4)], 11)) == {0: 11}
    assert kept(tmp_path) == [*facts(2, 3), ("ACC01", 4), ("ACC00", 6)]
    async with open_parquet(tmp_path, "t", rows_max=1, every_s=60) as sink:
        assert await sink.missing() == [("ACC00", 4, 5)]


async def test_files_may_be_moved_away_and_are_not_written_again(tmp_path: Path, facts: Facts) -> None:
    await stored(tmp_path, batch_of(facts(2, 3), 6))
    files(tmp_path)[0].unlink()
    assert await stored(tmp_path, batch_of([*facts(2, 3), ("ACC00", 4)], 7)) == {0: 7}
    assert kept(tmp_path) == [("ACC00", 4)]
    assert [path.name for path in files(tmp_path)] == ["outcomes-000000002.parquet"]


async def test_what_does_not_belong_together_is_refused(tmp_path: Path, facts: Facts) -> None:
    await stored(tmp_path, batch_of(facts(1, 2), 2))
    with pytest.raises(LostError, match="take another folder"):
        await stored(tmp_path, topic="other")
    other = batch_of([("ACC00", 2)], 3)
    other.rows = [(other.rows[0][2], *other.rows[0][1:])]
    with pytest.raises(ContradictionError, match="account ACC00 bear the number 2"):
        await stored(tmp_path, other)
    async with open_parquet(tmp_path, "t", rows_max=1, every_s=60):
        with pytest.raises(LedgerClientError, match="another consumer writes"):
            await stored(tmp_path)
    pq.write_table(
        pq.read_table(files(tmp_path)[0], columns=["type"]).replace_schema_metadata(),
        tmp_path / "outcomes-7.parquet",
    )
    with pytest.raises(SettingsError, match="was not written by this consumer"):
        await stored(tmp_path)
    (tmp_path / "outcomes-7.parquet").write_bytes(b"PAR1")
    with pytest.raises(LedgerClientError, match="cannot be read"):
        await stored(tmp_path)


def test_what_retention_removed_is_refused_until_told_to_pass_over_it_and_named(
    published: Published, kit: Kit, tmp_path: Path, kafka: str
) -> None:
    published.add([("A", seq) for seq in (1, 2)])
    assert kit.run(*to(tmp_path), "--until-end").returncode == 0
    published.add([("A", seq) for seq in range(3, 8)])
    asyncio.run(_remove_below(kafka, published.topic, 5))
    ended = kit.run(*to(tmp_path), "--until-end")
    assert ended.returncode == 1
    assert "3 records were removed by retention" in ended.stderr
    ended = kit.run(*to(tmp_path), "--until-end", "--pass-over-lost")
    assert ended.returncode == 4
    assert json.loads(ended.stdout)["missing"] == [{"account_no": "A", "first": 3, "last": 5}]


async def _remove_below(bootstrap: str, topic: str, offset: int) -> None:
    """Remove records as retention would, of the partition that has any."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for number in range(PARTITIONS):
            with suppress(OffsetOutOfRangeError):  # a partition without them
                await admin.delete_records({TopicPartition(topic, number): RecordsToDelete(before_offset=offset)})
    finally:
        await admin.close()


async def test_a_sink_of_ones_own_reads_on_from_its_offsets_and_names_what_is_missing(
    published: Published, kafka: str, facts: Facts
) -> None:
    whole = facts(2, 5)
    await asyncio.to_thread(published.add, [*whole[:4], *whole[6:], *whole[:3]])
    connection = Connection(kafka, topics=Topics(outcomes=published.topic))
    seen, kept_here, offsets = Completeness(), [], {}
    for records_max in (3, 100):  # the second reading is one after a restart
        async with open_reading(connection, offsets) as reading:
            while reading.left() and (records_max > 3 or not offsets):
                batch = await reading.batch(1, records_max)
                rows = [dict(zip((column.name for column in COLUMNS), row, strict=True)) for row in batch.rows]
                facts_read = [(row["account_no"], row["account_seq"], row["event_id"]) for row in rows]
                kept_here += [fact[:2] for fact in facts_read if seen.first_sight(*fact)]
                offsets |= batch.next_offsets()
    assert sorted(kept_here) == sorted([*whole[:4], *whole[6:]])
    assert seen.missing() == [("ACC00", 3, 3), ("ACC01", 3, 3)]


def test_without_pyarrow_it_says_what_to_install(kit: Kit, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('none')")
    ended = kit.spawn(*to(tmp_path), PYTHONPATH=f"{tmp_path}:{kit.env['PYTHONPATH']}")
    assert (ended.returncode, "ledger-worker[parquet]" in ended.stderr) == (1, True)


def test_the_help_has_examples_and_a_wrong_option_is_a_usage_error(kit: Kit) -> None:
    told = kit.run("--help", COLUMNS="120").stdout
    assert "python -m ledger_client.consume --to postgres" in told
    assert kit.run("--to", "excel").returncode == 2
    assert kit.run(LEDGER_KAFKA_BOOTSTRAP_SERVERS="").returncode == 2
    assert parquet.SCHEMA.names[0] == "event_id"
