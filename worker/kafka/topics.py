"""The topic manifest: what the six topics must be, what they are, and how one becomes the other.

A mismatch `loses` when it can lose order or data; `run` does not start on one.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka import errors as refused
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition as Tp

from worker.errors import RefusedByGuardError, TopicsError
from worker.kafka.dial import unreachable
from worker.kafka.past import existing
from worker.kafka.ports import KafkaSettings
from worker.kafka.rights import Right, missing_rights, needing, not_allowed
from worker.kafka.security import client_options
from worker.kafka.tolerant import read_slice
from worker.ledger.positions import Position, Reason, TopicPartition, judge_position, last_is_kept
from worker.ledger.records import RawRecord

DAY_MS = 86_400_000
FOR_EVER = -1
COMMAND_BYTES_MAX = 1_048_576
DEAD_LETTER_BYTES_MAX = COMMAND_BYTES_MAX + 65_536  # the reasons go behind the original's own headers
REPLICATION_WANTED = 3
LOOK_BYTES_MAX = 1_048_576
SEEN_DEADLINE_S = 15
FETCH_API = 1
FETCH_RELEASES = ((11, "2.3"), (12, "2.7"), (13, "3.1"), (15, "3.5"), (16, "3.7"), (17, "3.9"), (18, "4.1"))
_DYNAMIC_TOPIC_CONFIG = 1  # DescribeConfigs: set on this topic, as against a default of the broker


class Use(StrEnum):
    """What a topic is for."""

    COMMANDS = "commands"
    OUTCOMES = "outcomes"
    DEAD_LETTERS = "dead letters"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class Topic:
    """What one topic must be. `retention_ms` and `bytes_max` are lower bounds; partitions too, save for outcomes."""

    name: str
    use: Use
    partitions: int
    retention_ms: int
    bytes_max: int

    def config(self, replicas: int) -> dict[str, str]:
        """Return the topic's settings in Kafka's names, for a cluster that keeps so many copies."""
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "retention.bytes": "-1",
            "max.message.bytes": str(self.bytes_max),
            "min.insync.replicas": str(max(1, replicas - 1)),
            "unclean.leader.election.enable": "false",
        }


@dataclass(frozen=True, slots=True)
class Found:
    """What one topic is."""

    partitions: int
    replicas: int
    config: Mapping[str, str]
    set_here: Mapping[str, str]


class Step(StrEnum):
    """How `apply` mends a difference."""

    CREATE = "create"
    CONFIGURE = "configure"
    ADD_PARTITIONS = "add partitions"
    NONE = "cannot be mended"


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a topic differs from the manifest; `loses` order or data, so that `run` must not start."""

    topic: Topic
    step: Step
    what: str
    wanted: str
    found: str
    loses: bool

    @property
    def sentence(self) -> str:
        """One sentence for a person."""
        if self.step is Step.CREATE:
            return f"topic {self.topic.name} does not exist: run `ledger-worker topics apply`"
        told = (
            f"topic {self.topic.name} ({self.topic.use}) has {self.what} {self.found}, the manifest says {self.wanted}"
        )
        match self.step:
            case Step.CONFIGURE:
                return f"{told}: run `ledger-worker topics apply`"
            case Step.ADD_PARTITIONS:
                return f"{told}: drain, then run `ledger-worker topics apply --drained`"
            case Step.NONE:
                return f"{told}: move to a new topic; this one cannot be changed without losing order"


def manifest(settings: KafkaSettings) -> tuple[Topic, ...]:
    """Return the six topics; their names come from the settings."""
    commands = (settings.topic_adjustments, settings.topic_freezes, settings.topic_orders)
    return (
        *(Topic(name, Use.COMMANDS, 12, 14 * DAY_MS, COMMAND_BYTES_MAX) for name in commands),
        Topic(settings.topic_outcomes, Use.OUTCOMES, 12, 30 * DAY_MS, COMMAND_BYTES_MAX),
        Topic(settings.topic_dead_letters, Use.DEAD_LETTERS, 3, 30 * DAY_MS, DEAD_LETTER_BYTES_MAX),
        Topic(settings.topic_audit, Use.AUDIT, 1, FOR_EVER, COMMAND_BYTES_MAX),
    )


def release_of(fetch_max: int) -> str:
    """Say of which release a broker is at least, by the newest Fetch request that it takes: it tells no more of itself."""
    known = [release for least, release in FETCH_RELEASES if least <= fetch_max]
    return f"Kafka {known[-1]} or newer" if known else f"Kafka older than {FETCH_RELEASES[0][1]}"


def differences(topic: Topic, found: Found | None, brokers: int) -> list[Difference]:
    """Return how `found` (None: there is no such topic) differs from `topic`; empty where it is in order."""
    replicas = min(REPLICATION_WANTED, brokers)
    if found is None:
        wanted = f"{topic.partitions} partitions, {replicas} copies"
        return [Difference(topic, Step.CREATE, "topic", wanted, "none", loses=True)]
    return [*_partitions(topic, found), *_replicas(topic, found, replicas), *_config(topic, found)]


def _partitions(topic: Topic, found: Found) -> list[Difference]:
    if found.partitions == topic.partitions:
        return []
    wanted, have = str(topic.partitions), str(found.partitions)
    if topic.use is Use.OUTCOMES:  # an account's outcomes would go to another partition: consumers lose their order
        return [Difference(topic, Step.NONE, "partitions", wanted, have, loses=True)]
    if found.partitions > topic.partitions:
        return []
    loses = topic.use is Use.COMMANDS
    step = Step.ADD_PARTITIONS
    return [Difference(topic, step, "partitions", wanted, have, loses)]


def _replicas(topic: Topic, found: Found, replicas: int) -> list[Difference]:
    if found.replicas >= replicas:
        return []
    return [Difference(topic, Step.NONE, "copies", str(replicas), str(found.replicas), loses=False)]


def _config(topic: Topic, found: Found) -> list[Difference]:
    wanted = topic.config(found.replicas)
    return [
        Difference(topic, Step.CONFIGURE, name, value, found.config.get(name, "unknown"), _loses(topic, name))
        for name, value in wanted.items()
        if not _suffices(name, value, found.config.get(name))
    ]


def _loses(topic: Topic, name: str) -> bool:
    kept = topic.use is not Use.AUDIT or name == "cleanup.policy"
    return kept and name in ("cleanup.policy", "retention.ms", "retention.bytes", "max.message.bytes")


def _suffices(name: str, wanted: str, found: str | None) -> bool:
    if found is None:
        return False
    match name:
        case "retention.ms" | "retention.bytes":
            return found == "-1" or (wanted != "-1" and int(found) >= int(wanted))
        case "max.message.bytes" | "min.insync.replicas":
            return int(found) >= int(wanted)
        case _:
            return found == wanted


class Topics:
    """The cluster's topics, read and changed through one connection; see `open_topics`."""

    def __init__(self, admin: AIOKafkaAdminClient, reader: AIOKafkaConsumer, settings: KafkaSettings) -> None:
        self._admin = admin
        self._reader = reader
        self._settings = settings
        self.manifest = manifest(settings)

    async def missing_rights(self) -> list[str]:
        """Return a sentence for each right that the worker needs and this user has not."""
        return await missing_rights(self._admin, self._settings)

    async def plan(self) -> list[Difference]:
        """Return what differs from the manifest; changes nothing."""
        brokers = len((await self._admin.describe_cluster())["brokers"])
        found = await self._found([topic.name for topic in self.manifest])
        return [d for topic in self.manifest for d in differences(topic, found.get(topic.name), brokers)]

    async def describe_brokers(self) -> tuple[int, str]:
        """Return how many brokers there are and of which release one of them is, as far as its protocol tells."""
        brokers = (await self._admin.describe_cluster())["brokers"]
        client = self._admin._client  # noqa: SLF001 - no public way leads to what the broker said of itself
        connection = await client._get_conn(brokers[0]["node_id"])  # noqa: SLF001
        versions = {} if connection is None else connection._versions  # noqa: SLF001
        return len(brokers), release_of(versions.get(FETCH_API, (0, 0))[1])

    async def verify(self) -> list[Difference]:
        """Return what differs; TopicsError with one sentence is for the caller to raise where one `loses`."""
        return await self.plan()

    async def apply(self, *, drained: bool = False) -> list[Difference]:
        """Mend what can be mended and return what was mended.

        RefusedByGuardError if command topics need partitions and `drained` is not set, TopicsError if Kafka refuses.
        """
        plan = await self.plan()
        adding = [d for d in plan if d.step is Step.ADD_PARTITIONS and d.topic.use is Use.COMMANDS]
        if adding and not drained:
            raise RefusedByGuardError(adding[0].sentence)
        mended = [d for d in plan if d.step is not Step.NONE]
        try:
            await self._create([d.topic for d in mended if d.step is Step.CREATE])
            await self._configure({d.topic.name: d.topic for d in mended if d.step is Step.CONFIGURE})
            await self._add_partitions([d.topic for d in mended if d.step is Step.ADD_PARTITIONS])
        except refused.KafkaError as error:
            raise TopicsError(f"Kafka refuses the change of topics: {error}") from error
        await self._until_seen(mended)
        return mended

    async def _until_seen(self, mended: Sequence[Difference]) -> None:
        """Wait until the brokers show the change: they answer a change before they have all heard of it."""
        changed = {(d.topic.name, d.what) for d in mended}
        try:
            async with asyncio.timeout(SEEN_DEADLINE_S):
                while any((d.topic.name, d.what) in changed for d in await self.plan()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise TopicsError(f"Kafka took the change but does not show it after {SEEN_DEADLINE_S} s") from error

    async def _create(self, topics: Sequence[Topic]) -> None:
        if not topics:
            return
        replicas = min(REPLICATION_WANTED, len((await self._admin.describe_cluster())["brokers"]))
        wanted = [NewTopic(t.name, t.partitions, replicas, topic_configs=t.config(replicas)) for t in topics]
        response = await self._admin.create_topics(wanted)
        for name, code, *rest in response.topic_errors:
            error = refused.for_code(code)
            if error not in (refused.NoError, refused.TopicAlreadyExistsError):
                with needing(Right.CREATE, f"topic {name}"):
                    raise error(f"{name}: {rest[0] if rest else ''}")

    async def _configure(self, topics: Mapping[str, Topic]) -> None:
        """Set ours and keep what else was set on the topic: Kafka's older call, the client's only one, replaces all."""
        if not topics:
            return
        found = await self._found(topics)
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, name, {**found[name].set_here, **self._lifted(topic, found[name])})
            for name, topic in topics.items()
        ]
        for response in await self._admin.alter_configs(resources):
            for code, message, _, name in response.resources:
                if code:
                    with needing(Right.ALTER_CONFIGS, f"topic {name}"):
                        raise refused.for_code(code)(f"{name}: {message}")

    @staticmethod
    def _lifted(topic: Topic, found: Found) -> dict[str, str]:
        return {d.what: d.wanted for d in _config(topic, found)}

    async def _add_partitions(self, topics: Sequence[Topic]) -> None:
        for topic in topics:
            with needing(Right.ALTER, f"topic {topic.name}"):
                await self._admin.create_partitions({topic.name: NewPartitions(topic.partitions)})

    async def _found(self, names: Collection[str]) -> dict[str, Found]:
        there = existing(await self._admin.describe_topics(list(names)))
        configs = await self._configs(there)
        return {
            name: Found(len(parts), min(len(p["replicas"]) for p in parts), *configs[name])
            for name, parts in there.items()
            if name in configs
        }

    async def _configs(self, names: Collection[str]) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
        if not names:
            return {}
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        found: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        for response in await self._admin.describe_configs(asked):
            for code, message, _, name, entries in response.resources:
                if refused.for_code(code) is refused.UnknownTopicOrPartitionError:
                    continue  # just made, and not known to this broker yet
                if refused.for_code(code) is refused.TopicAuthorizationFailedError:
                    raise not_allowed(Right.DESCRIBE_CONFIGS, f"topic {name}")
                if code:
                    raise TopicsError(f"the settings of topic {name} cannot be read: {message}")
                values = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
                set_here = {e[0]: e[1] for e in entries if e[3] == _DYNAMIC_TOPIC_CONFIG and e[1] is not None}
                found[name] = (values, set_here)
        return found

    async def topic_ends(self, topics: Collection[str]) -> dict[TopicPartition, tuple[int, int]]:
        """Return (log start, log end) of every partition. TopicsError if a topic is missing."""
        there = existing(await self._admin.describe_topics(list(topics)))
        missing = sorted(set(topics) - set(there))
        if missing:
            raise TopicsError(f"missing topics: {', '.join(missing)}: run `ledger-worker topics apply`")
        partitions = [Tp(name, p["partition"]) for name, parts in there.items() for p in parts]
        starts = await self._reader.beginning_offsets(partitions)
        ends = await self._reader.end_offsets(partitions)
        return {(tp.topic, tp.partition): (starts[tp], ends[tp]) for tp in partitions}

    async def read_one(self, partition: TopicPartition, offset: int) -> RawRecord | None:
        """Return the record at `offset`, None where there is none (a control record, or not in the log)."""
        topic, number = partition
        await self._reader.end_offsets([Tp(topic, number)])  # makes the reader's client know the partition's leader
        try:
            with needing(Right.READ, f"topic {topic}"):
                seen = await read_slice(self._reader._client, topic, number, offset, LOOK_BYTES_MAX)  # noqa: SLF001
        except refused.OffsetOutOfRangeError:
            return None
        return next((record for record in seen.records if record.offset == offset), None)

    async def inspect(self, stored: Mapping[TopicPartition, Position]) -> dict[TopicPartition, Reason]:
        """Return the partitions whose log does not bear out what is stored of them, and why: what `adopt` accepts."""
        ends = await self.topic_ends({topic for topic, _ in stored})
        found: dict[TopicPartition, Reason] = {}
        for key, position in stored.items():
            start, end = ends.get(key, (0, 0))
            digest = None
            if position.last_offset is not None and last_is_kept(position, start, end):
                record = await self.read_one(key, position.last_offset)
                digest = None if record is None else record.digest()
            reason = judge_position(position, start, end, digest, f"{key[0]}[{key[1]}]")
            if reason is not None:
                found[key] = reason
        return found


@asynccontextmanager
async def open_topics(settings: KafkaSettings) -> AsyncIterator[Topics]:
    """Connect for the time of the block. PartUnavailableError says why it does not, RightMissingError what is not allowed."""
    options: dict[str, Any] = client_options(settings)
    admin = AIOKafkaAdminClient(**options)
    reader = AIOKafkaConsumer(
        **options, group_id=None, enable_auto_commit=False, auto_offset_reset="none", isolation_level="read_committed"
    )
    try:
        await admin.start()
        await reader.start()
    except (refused.KafkaError, OSError, TimeoutError) as error:
        await reader.stop()
        await admin.close()
        raise await unreachable(settings, error) from error
    try:
        yield Topics(admin, reader, settings)
    except (refused.KafkaError, TimeoutError) as error:
        raise await unreachable(settings, error) from error
    finally:
        await reader.stop()
        await admin.close()
