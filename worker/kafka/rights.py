"""What Kafka allows this user: the rights that the worker needs, and what is said where one is missing.

A missing right must never read as a missing topic. The numbers are Kafka's own, of AclOperation.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, Final

from aiokafka import errors as refused
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String
from typing_extensions import override

from worker.errors import RightMissingError
from worker.kafka.ports import KafkaSettings

METADATA_API: Final = 3
DESCRIBE_GROUPS_API: Final = 15
UNKNOWN_OPERATIONS: Final = -2147483648  # a broker without an authorizer, or that does not say


class Right(IntEnum):
    """One operation that an ACL grants."""

    READ = 3
    WRITE = 4
    CREATE = 5
    ALTER = 7
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10
    ALTER_CONFIGS = 11


_DOES: Final = {
    Right.READ: "read",
    Right.WRITE: "write to",
    Right.CREATE: "create",
    Right.ALTER: "add partitions to",
    Right.DESCRIBE: "see",
    Right.DESCRIBE_CONFIGS: "read the settings of",
    Right.ALTER_CONFIGS: "change the settings of",
}
_REFUSALS: Final = (
    refused.TopicAuthorizationFailedError,
    refused.GroupAuthorizationFailedError,
    refused.ClusterAuthorizationFailedError,
)


def not_allowed(right: Right, what: str) -> RightMissingError:
    """Return what to raise; `what` is `topic X` or `group G`."""
    includes = " (READ and WRITE include it)" if right is Right.DESCRIBE else ""
    return RightMissingError(
        f"Kafka: this user is not allowed to {_DOES[right]} {what}: grant {right.name} on it{includes}"
    )


@contextmanager
def needing(right: Right, what: str) -> Iterator[None]:
    """Say of a refusal within the block which right it was about."""
    try:
        yield
    except _REFUSALS as error:
        raise not_allowed(right, what) from error


def worker_rights(settings: KafkaSettings) -> dict[str, tuple[Right, ...]]:
    """Return what the worker needs on each topic; READ and WRITE include DESCRIBE. On its group it needs READ."""
    commands = (settings.topic_adjustments, settings.topic_freezes, settings.topic_orders)
    return {
        **dict.fromkeys(commands, (Right.READ, Right.DESCRIBE_CONFIGS)),
        settings.topic_outcomes: (Right.READ, Right.WRITE, Right.DESCRIBE_CONFIGS),
        settings.topic_dead_letters: (Right.WRITE, Right.DESCRIBE_CONFIGS),
        settings.topic_audit: (Right.WRITE, Right.DESCRIBE_CONFIGS),
    }


async def missing_rights(admin: AIOKafkaAdminClient, settings: KafkaSettings) -> list[str]:
    """Return a sentence for each right that the worker needs and this user has not; a broker that cannot say has all.

    Of a topic that does not exist nothing is said.
    """
    wanted = worker_rights(settings)
    try:
        answer = await admin._send_request(_AskRights(list(wanted)))  # noqa: SLF001 - the client knows no such question
    except NotImplementedError:  # older than 2.3, which does not tell
        return []
    found = {topic: None if code else held for code, topic, _, _, held in answer.topics}
    refused_topics = {topic for code, topic, *_ in answer.topics if refused.for_code(code) in _REFUSALS}
    told = [
        str(not_allowed(right, f"topic {topic}"))
        for topic, rights in wanted.items()
        for right in rights
        if topic in refused_topics or _lacks(found.get(topic), right)
    ]
    return told + await _missing_on_group(admin, settings.kafka_group_id)


async def _missing_on_group(admin: AIOKafkaAdminClient, group_id: str) -> list[str]:
    told = str(not_allowed(Right.READ, f"group {group_id}"))
    try:
        coordinator = await admin.find_coordinator(group_id)
        answer = await admin._send_request(_AskGroup(group_id), coordinator)  # noqa: SLF001 - the client leaves the rights out
    except _REFUSALS:
        return [told]
    except (refused.GroupCoordinatorNotAvailableError, refused.GroupLoadInProgressError):
        return []  # a cluster that has just started; joining will tell
    ((code, *_, held),) = answer.groups
    return [told] if refused.for_code(code) in _REFUSALS or (not code and _lacks(held, Right.READ)) else []


def _lacks(held: int | None, right: Right) -> bool:
    return held is not None and held != UNKNOWN_OPERATIONS and not held >> right & 1


class _Rights(Response):  # type: ignore[misc]
    API_KEY = METADATA_API
    API_VERSION = 8
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(("node_id", Int32), ("host", String("utf-8")), ("port", Int32), ("rack", String("utf-8"))),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("isr", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _AskRightsStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = METADATA_API
    API_VERSION = 8
    RESPONSE_TYPE = _Rights
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _AskRights(Request[_AskRightsStruct]):  # type: ignore[misc]
    """Metadata of topics, with what this user may do to each (Kafka 2.3 and newer)."""

    API_KEY = METADATA_API

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    @override
    def build(self, request_struct_class: Any) -> _AskRightsStruct:
        return _AskRightsStruct(self._topics, False, False, True)  # noqa: FBT003 - fields of the wire


class _AskGroupStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = DESCRIBE_GROUPS_API
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3
    SCHEMA = Schema(("groups", Array(String("utf-8"))), ("include_authorized_operations", Boolean))


class _AskGroup(Request[_AskGroupStruct]):  # type: ignore[misc]
    """A group, with what this user may do to it (Kafka 2.3 and newer)."""

    API_KEY = DESCRIBE_GROUPS_API

    def __init__(self, group_id: str) -> None:
        self._group_id = group_id

    @override
    def build(self, request_struct_class: Any) -> _AskGroupStruct:
        return _AskGroupStruct([self._group_id], True)  # noqa: FBT003 - fields of the wire
