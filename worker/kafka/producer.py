"""The relay's producer: idempotent, `acks=all`, each record to its key's partition, and never longer than a deadline.

aiokafka's idempotent producer retries without end. So a call has a deadline; past it the producer is dropped and the
next call begins with a new one. What was under way then may still arrive: a repeat with the same `event_id`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka import errors as refused
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.producer.message_accumulator import BatchBuilder

from worker.clock import boot_s
from worker.errors import PartUnavailableError, SettingsError
from worker.kafka.dial import why_unreachable
from worker.kafka.headers import Header, RawBatch, text_headers
from worker.kafka.ports import KafkaSettings
from worker.kafka.rights import Right, not_allowed
from worker.kafka.security import client_options

REQUEST_BYTES_MAX = 1_048_576 + 65_536 + 4_096  # what the dead-letter topic takes, and the request's own frame
BATCH_BYTES_MAX = 262_144  # what the topics take in one batch is several times that
CLOSE_DEADLINE_S = 2.0

_choose = DefaultPartitioner()  # murmur2 of the key, as the Java clients do

log = structlog.get_logger(__name__)

# The record must change before sending it again can help.
OF_RECORD = (
    refused.MessageSizeTooLargeError,
    refused.RecordListTooLargeError,
    refused.InvalidTimestampError,
    refused.UnsupportedForMessageFormatError,
)
# The topic's name or the right to write to it must change; every other record for that topic is in the same place.
OF_TOPIC = (
    refused.InvalidTopicError,
    refused.TopicAuthorizationFailedError,
    refused.ClusterAuthorizationFailedError,
    refused.PolicyViolationError,
)


class Message(NamedTuple):
    """One record to publish; header names are text or, of a dead letter, any bytes. None as timestamp: now."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...] = ()
    timestamp_ms: int | None = None

    def size(self) -> int:
        """Bytes of key, value and headers."""
        return sum(len(part or b"") for part in (self.key, self.value, *chain.from_iterable(self.headers)))


class Sent(NamedTuple):
    """All in-sync replicas have it."""

    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Permanent:
    """Kafka will not take this record as it is; with `of_topic` it takes none of ours for that topic."""

    message: str
    of_topic: bool = False


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Not known to have arrived; send it again."""

    message: str


SendResult = Sent | Permanent | Unavailable


class Bundle(NamedTuple):
    """Messages that go to one partition in one batch; `places` says which they are."""

    topic: str
    partition: int
    batch: BatchBuilder
    places: list[int]

    def takes(self, place: int, message: Message, headers: Sequence[tuple[str, bytes | None]]) -> bool:
        """Add a message at the end; False where it has no room. The first one always has."""
        added = self.batch.append(timestamp=message.timestamp_ms, key=message.key, value=message.value, headers=headers)
        if added is not None:
            self.places.append(place)
        return added is not None


def producer_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return what the producer is built with: every option whose default loses or doubles is set."""
    return client_options(settings) | {
        "acks": "all",
        "enable_idempotence": True,  # the client's own retries neither double nor reorder
        "max_request_size": REQUEST_BYTES_MAX,
        "max_batch_size": BATCH_BYTES_MAX,  # with 16 KiB a call went out in dozens of requests, one after the other
        "linger_ms": 0,  # the messages of one call are put into batches before they are handed over
    }


class Producer:
    """Sends for one relay. Calls must not overlap."""

    def __init__(self, settings: KafkaSettings, deadline_s: float = 30.0) -> None:
        self._settings = settings
        self._deadline_s = deadline_s
        self._client: AIOKafkaProducer | None = None
        self._is_renewed = False

    def renew(self, settings: KafkaSettings) -> None:
        """Connect anew for the next call, with these settings' secrets and certificates. Raises SettingsError."""
        client_options(settings)
        self._settings, self._is_renewed = settings, True

    @property
    def connected(self) -> bool:
        """Whether the last call reached Kafka."""
        return self._client is not None

    async def send(self, messages: Sequence[Message]) -> list[SendResult]:
        """Publish each message and return one result for each, in order, within about the deadline. Never raises for Kafka."""
        if self._is_renewed:
            self._is_renewed = False
            await self.close()
        try:
            async with asyncio.timeout(self._deadline_s):
                client = await self._open()
        except (refused.KafkaError, OSError, TimeoutError, SettingsError) as error:
            told = await self._why(error)
            return [Unavailable(told) for _ in messages]
        try:
            results = await self._send_all(client, messages)
        except BaseException:
            await self.close()
            raise
        if any(isinstance(result, Unavailable) for result in results):
            await self.close()
        return results

    async def _why(self, error: Exception) -> str:
        if isinstance(error, SettingsError):  # a file that was read at the start and cannot be read now
            return str(error)
        found = await why_unreachable(self._settings)
        return found or f"Kafka at {self._settings.kafka_bootstrap_servers} is not reachable: {error!r}"

    async def _open(self) -> AIOKafkaProducer:
        if self._client is None:
            client = AIOKafkaProducer(**producer_options(self._settings))
            try:
                await client.start()
            except BaseException:
                await _drop(client)
                raise
            self._client = client
        return self._client

    async def _send_all(self, client: AIOKafkaProducer, messages: Sequence[Message]) -> list[SendResult]:
        until_s = boot_s() + self._deadline_s
        results: dict[int, SendResult] = {}
        handed: list[tuple[Bundle, asyncio.Future[Any]]] = []
        try:
            async with asyncio.timeout(self._deadline_s):
                for bundle in await _bundled(client, messages, results):
                    try:
                        sent = await client.send_batch(bundle.batch, bundle.topic, partition=bundle.partition)
                    except refused.KafkaError as why:
                        results |= {place: _told(messages[place], why) for place in bundle.places}
                    else:
                        handed.append((bundle, sent))
        except TimeoutError:
            pass  # what has no result by then is told as too late
        if handed:
            await asyncio.wait([sent for _, sent in handed], timeout=max(0.0, until_s - boot_s()))
        for bundle, sent in handed:
            if not sent.done():
                sent.cancel()
            elif (error := sent.exception()) is not None:
                results |= {place: _told(messages[place], error) for place in bundle.places}
            else:
                first = sent.result().offset
                results |= {place: Sent(bundle.partition, first + n) for n, place in enumerate(bundle.places)}
        return [results.get(place) or self._too_late(message) for place, message in enumerate(messages)]

    def _too_late(self, message: Message) -> Unavailable:
        return Unavailable(f"{message.topic}: not acknowledged within {self._deadline_s:g} s")

    async def close(self) -> None:
        """Drop the producer; what is not acknowledged by now is not waited for. May be called twice."""
        client, self._client = self._client, None
        if client is not None:
            await _drop(client)


def _told(message: Message, error: BaseException) -> SendResult:
    if isinstance(error, OF_RECORD):
        return Permanent(f"{message.topic} refuses the record: {error!r}")
    if isinstance(error, refused.TopicAuthorizationFailedError):
        return Permanent(str(not_allowed(Right.WRITE, f"topic {message.topic}")), of_topic=True)
    if isinstance(error, OF_TOPIC):
        return Permanent(f"{message.topic} takes no record from us: {error!r}", of_topic=True)
    return Unavailable(f"{message.topic}: {error!r}")


async def _bundled(
    client: AIOKafkaProducer, messages: Sequence[Message], results: dict[int, SendResult]
) -> list[Bundle]:
    """Put the messages into batches, those of a partition in their sequence; why one cannot be goes to `results`.

    Handed over one by one, each would have a future of its own that wakes whoever waits.
    """
    partitions: dict[str, list[int]] = {}
    filling: dict[tuple[str, int], Bundle] = {}
    bundles: list[Bundle] = []
    for place, message in enumerate(messages):
        try:
            if message.topic not in partitions:
                partitions[message.topic] = sorted(await client.partitions_for(message.topic))
            headers = text_headers(message.headers)
            if headers is None or (message.key is None and message.value is None):  # aiokafka takes neither
                headers, raw = [], RawBatch(message.key, message.value, message.timestamp_ms, message.headers)
            else:
                raw = None
            size = message.size() if raw is None else raw.size()
            if size > REQUEST_BYTES_MAX:
                raise refused.MessageSizeTooLargeError(f"the record has {size} bytes")
        except refused.KafkaError as error:
            results[place] = _told(message, error)
            continue
        known = partitions[message.topic]
        target = (message.topic, _choose(message.key, known, known))
        if raw is not None:
            filling.pop(target, None)
            bundles.append(Bundle(*target, raw, [place]))
        elif not (target in filling and filling[target].takes(place, message, headers)):
            filling[target] = Bundle(*target, client.create_batch(), [])
            filling[target].takes(place, message, headers)
            bundles.append(filling[target])
    return bundles


async def _drop(client: AIOKafkaProducer) -> None:
    """Close without the endless flush of what was not acknowledged."""
    try:
        async with asyncio.timeout(CLOSE_DEADLINE_S):
            await client.stop()
    except TimeoutError:
        await _abort(client)
    except (refused.KafkaError, OSError) as error:
        log.warning("publish.close_unclean", error=repr(error))


async def _abort(client: AIOKafkaProducer) -> None:
    # stop() has no way to give up. The sender goes first: it would look for batches that were given up already.
    await client._sender.close()  # noqa: SLF001
    client._message_accumulator.fail_all(PartUnavailableError("given up"))  # noqa: SLF001
    await client.client.close()
