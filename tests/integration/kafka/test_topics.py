"""The manifest against a real Kafka."""

from dataclasses import replace

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.integration.kafka.conftest import Settings, make_topic
from worker.errors import PartUnavailableError, RefusedByGuardError, TopicsError
from worker.kafka.topics import DEAD_LETTER_BYTES_MAX, Step, open_topics


async def test_missing_topics_are_planned_then_created_then_in_order(settings: Settings) -> None:
    async with open_topics(settings) as topics:
        plan = await topics.plan()
        assert {d.step for d in plan} == {Step.CREATE}
        assert len(plan) == 6
        assert all(d.loses and "ledger-worker topics apply" in d.sentence for d in plan)
        with pytest.raises(TopicsError, match="run `ledger-worker topics apply`"):
            await topics.topic_ends(settings.commands)
        await topics.apply()
        assert await topics.verify() == []
        assert await topics.apply() == []
        ends = await topics.topic_ends(settings.commands)
        assert len(ends) == 36
        assert set(ends.values()) == {(0, 0)}


async def test_a_compacted_command_topic_with_short_retention_is_mended_and_keeps_what_else_was_set(
    settings: Settings, admin: AIOKafkaAdminClient
) -> None:
    unsafe = {
        "cleanup.policy": "compact",
        "retention.ms": "1000",
        "max.message.bytes": "1000",
        "segment.ms": "86400000",
    }
    await make_topic(admin, NewTopic(settings.topic_orders, 12, 1, topic_configs=unsafe))
    async with open_topics(settings) as topics:
        found = {d.what for d in await topics.verify() if d.topic.name == settings.topic_orders and d.loses}
        assert found == {"cleanup.policy", "retention.ms", "max.message.bytes"}
        await topics.apply()
        assert await topics.verify() == []
        _, set_here = (await topics._configs([settings.topic_orders]))[settings.topic_orders]
        assert set_here["segment.ms"] == "86400000"


async def test_dead_letters_take_64_kib_more_than_commands(settings: Settings) -> None:
    async with open_topics(settings) as topics:
        await topics.apply()
        configs = await topics._configs([settings.topic_dead_letters, settings.topic_orders])
    sizes = {name: int(values["max.message.bytes"]) for name, (values, _) in configs.items()}
    assert sizes[settings.topic_dead_letters] - sizes[settings.topic_orders] == 65_536
    assert sizes[settings.topic_dead_letters] == DEAD_LETTER_BYTES_MAX


async def test_partitions_are_added_to_commands_only_when_drained_and_to_outcomes_never(
    settings: Settings, admin: AIOKafkaAdminClient
) -> None:
    await make_topic(admin, NewTopic(settings.topic_orders, 3, 1))
    await make_topic(admin, NewTopic(settings.topic_outcomes, 3, 1))
    async with open_topics(settings) as topics:
        with pytest.raises(RefusedByGuardError, match="--drained"):
            await topics.apply()
        await topics.apply(drained=True)
        (left,) = await topics.verify()
    assert left.topic.name == settings.topic_outcomes
    assert left.step is Step.NONE
    assert left.loses


async def test_a_kafka_that_is_not_there_is_named() -> None:
    names = dict.fromkeys(
        ("topic_adjustments", "topic_freezes", "topic_orders", "topic_outcomes", "topic_dead_letters", "topic_audit"),
        "x",
    )
    nowhere = replace(Settings("", "g", *names.values()), kafka_bootstrap_servers="127.0.0.1:9")
    with pytest.raises(PartUnavailableError, match=r"127\.0\.0\.1:9"):
        async with open_topics(nowhere):
            pass
