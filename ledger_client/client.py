"""Sends commands and waits for their outcomes.

The producer is idempotent and waits for all copies; a command goes to the topic of its type under its account, by the
partitioner of the Java clients. Outcomes are read without a consumer group, from where their topic ended at the start.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import TopicPartition

from ledger_client.commands import as_record
from ledger_client.connection import Connection
from ledger_client.errors import NotAcknowledgedError, NotAnsweredError, UnavailableError
from ledger_client.outcomes import read_outcome
from schemas.envelope import Envelope
from schemas.outcomes import Error, Outcome, OutcomeType, Result, Source

START_DEADLINE_S = 30.0
CLOSE_DEADLINE_S = 5.0
POLL_S = 0.5
COMMAND_ID = "ce_causationid"

Told = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class Sent:
    """All copies have the command. `command_id` is what to keep: it names the intent for ever."""

    command_id: str
    topic: str
    partition: int
    offset: int


class State(StrEnum):
    """How a command ended, as seen by whoever sent it."""

    SUCCEEDED = "succeeded"
    REJECTED = "rejected"
    CONFLICTED = "conflicted"
    """The id was used before with other content; nothing was done for what was sent now."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended. Sent again after its end, it is told by a `command.duplicate`, which says the same."""

    state: State
    outcome: Outcome

    @property
    def result(self) -> Result | None:
        """What is known to be so: the brokerage's numbers."""
        return self.outcome.result

    @property
    def error(self) -> Error | None:
        """Why not; `code` is listed with what to do in docs/codes.md."""
        return self.outcome.error


@dataclass(slots=True)
class _Watched:
    """What was told of one command that was sent from here."""

    sent: list[Source] = field(default_factory=list)
    news: list[Outcome] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def hear(self, outcome: Outcome) -> None:
        if str(outcome.event_id) not in self.seen:
            self.seen.add(str(outcome.event_id))
            self.news.append(outcome)

    def answer(self) -> Answer | None:
        answers = (self._as_answer(outcome) for outcome in self.news)
        return next((answer for answer in answers if answer is not None), None)

    def _as_answer(self, outcome: Outcome) -> Answer | None:
        match outcome.type:
            case OutcomeType.SUCCEEDED:
                return Answer(State.SUCCEEDED, outcome)
            case OutcomeType.REJECTED:
                return Answer(State.REJECTED, outcome)
            case OutcomeType.DUPLICATE if outcome.refers_to is not None:
                return Answer(State.SUCCEEDED if outcome.error is None else State.REJECTED, outcome)
            case OutcomeType.CONFLICTED if outcome.source in self.sent:  # that of somebody else is not ours
                return Answer(State.CONFLICTED, outcome)
            case _:
                return None


class LedgerClient:
    """One producer and, unless `answers` is false, one reader of outcomes; `async with` opens and closes both.

    With `answers`, what was sent is remembered until its answer was waited for. Calls may overlap; the commands of one
    account keep their sequence if each is awaited before the next is sent.
    """

    def __init__(self, connection: Connection, *, answers: bool = True) -> None:
        self._connection = connection
        self._answers = answers
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._watched: dict[str, _Watched] = {}
        self._reading = asyncio.Lock()
        self._trouble: str | None = None
        self._topics: set[str] = set()

    async def __aenter__(self) -> Self:
        """Connect. Raises UnavailableError, SettingsError."""
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                self._producer = AIOKafkaProducer(**producer_options(self._connection))
                await self._producer.start()
                # asked of the whole cluster: to ask for one topic by name may create it
                self._topics = set((await self._producer.client.fetch_all_metadata()).topics())
                if self._answers:
                    await self._follow()
        except (KafkaError, OSError, TimeoutError) as error:
            await self._close()
            raise UnavailableError(
                f"Kafka at {self._connection.bootstrap_servers} does not answer: {error!r}"
            ) from error
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close; a command that is not acknowledged by now is given up after a few seconds."""
        await self._close()

    async def send(self, command: Envelope | Mapping[str, Any], *, deadline_s: float = 30.0) -> Sent:
        """Check a command and publish it; returns when all copies have it.

        Raises RefusedError (not sent: the worker would refuse it), UnavailableError (not sent), and NotAcknowledgedError
        (may arrive yet; the same command under the same id may be sent again).
        """
        if self._producer is None:
            raise UnavailableError("the client is not open: use `async with`")
        record = as_record(command)
        topic = self._connection.topics.of_type(record.command_type)
        if topic not in self._topics:
            raise UnavailableError(f"topic {topic} does not exist, or may not be seen by this user")
        if self._answers:  # before it goes out: its outcome may be quicker than the acknowledgement
            self._watched.setdefault(record.command_id, _Watched())
        try:
            async with asyncio.timeout(deadline_s):
                told = await self._producer.send_and_wait(topic, record.value, record.key)
        except (KafkaError, TimeoutError, OSError) as error:
            raise NotAcknowledgedError(record.command_id, repr(error)) from error
        if self._answers:
            self._watched[record.command_id].sent.append(Source(topic, told.partition, told.offset))
        return Sent(record.command_id, topic, told.partition, told.offset)

    async def wait(self, command_id: str, *, deadline_s: float, told: Told | None = None) -> Answer:
        """Wait until a command that this client sent has ended; `told` hears of each outcome on the way, doubts and all.

        Raises NotAnsweredError, which says what is known; waiting may go on afterwards. KeyError for an id never sent
        from here: after a restart send the command again under its id, the answer says how it ended.
        """
        watched = self._watched[command_id]
        heard = 0
        loop = asyncio.get_running_loop()
        until_s = loop.time() + deadline_s
        while True:
            for outcome in watched.news[heard:]:
                heard += 1
                if told is not None:
                    told(outcome)
            answer = watched.answer()
            if answer is not None:
                self._watched.pop(command_id, None)
                return answer
            left_s = until_s - loop.time()
            if left_s <= 0:
                raise NotAnsweredError(command_id, deadline_s, watched.news, self._trouble)
            await self._read_some(min(POLL_S, left_s))

    async def _read_some(self, wait_s: float) -> None:
        """Read what has come; whoever waits reads for all."""
        try:
            async with asyncio.timeout(wait_s + POLL_S), self._reading:
                found = await self._open_consumer().getmany(timeout_ms=int(wait_s * 1000))
        except TimeoutError:
            return  # somebody else reads just now
        except KafkaError as error:
            self._trouble = repr(error)
            await asyncio.sleep(wait_s)
            return
        self._trouble = None
        for records in found.values():
            for record in records:
                self._hear(record)

    def _hear(self, record: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        named = [value for name, value in record.headers if name == COMMAND_ID]
        watched = self._watched.get((named[0] or b"").decode("ascii", "replace")) if named else None
        if watched is not None:
            watched.hear(read_outcome(record.value))

    def _open_consumer(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise UnavailableError("the client is not open for answers: use `async with LedgerClient(connection)`")
        return self._consumer

    async def _follow(self) -> None:
        topic = self._connection.topics.outcomes
        self._consumer = AIOKafkaConsumer(**consumer_options(self._connection))
        await self._consumer.start()
        partitions = await partitions_of(self._consumer, topic)
        self._consumer.assign(partitions)
        for partition, offset in (await self._consumer.end_offsets(partitions)).items():
            self._consumer.seek(partition, offset)

    async def _close(self) -> None:
        producer, self._producer = self._producer, None
        consumer, self._consumer = self._consumer, None
        if producer is not None:
            await _drop(producer)
        if consumer is not None:
            await consumer.stop()


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Return the partitions of a topic, without making it. Raises UnavailableError where there is none."""
    cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - the consumer keeps only names of it
    numbers = cluster.partitions_for_topic(topic)
    if not numbers:
        raise UnavailableError(f"topic {topic} does not exist, or may not be seen by this user")
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def producer_options(connection: Connection) -> dict[str, Any]:
    """Return what the producer is built with: every option whose default loses, doubles or reorders is set."""
    return connection.options() | {
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": 0,
        "partitioner": DefaultPartitioner(),  # murmur2 of the key, as the Java clients do
    }


def consumer_options(connection: Connection) -> dict[str, Any]:
    """Return what a reader of outcomes is built with: no group, and nothing is skipped or guessed."""
    return connection.options() | {
        "group_id": None,
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
    }


async def _drop(producer: AIOKafkaProducer) -> None:
    """Close without the endless flush of what was not acknowledged."""
    try:
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            await producer.stop()
    except TimeoutError:
        await producer._sender.close()  # noqa: SLF001 - stop() has no way to give up
        await producer.client.close()
