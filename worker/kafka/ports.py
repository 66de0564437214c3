"""What intake needs from the store, and what its settings must have."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from pydantic import SecretStr

from worker.ledger.positions import Position, TopicPartition
from worker.ledger.records import RawRecord


class Accept(Protocol):
    """Storage of what intake reads."""

    async def positions(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Position]:
        """Return the stored position of each; a partition that was never read is missing."""
        ...

    async def accept(
        self, records: Sequence[RawRecord], read_from: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int]:
        """Store all records in one database transaction and return the next offsets now stored.

        `read_from` is the next offset that was stored when the batch was read (for a partition without a row: the log's
        first offset): the compare-and-set. Raises LostPlaceError if a row has moved since. After any exception nothing
        of the batch counts as stored. A next offset below the batch's end means that intake stops there.
        """
        ...


class KafkaSettings(Protocol):
    """The settings that this door reads, as `worker.settings` has them; read-only, for settings are frozen."""

    # ruff: noqa: D102 - contract section 5 says what each means
    @property
    def kafka_bootstrap_servers(self) -> str: ...
    @property
    def kafka_group_id(self) -> str: ...
    @property
    def kafka_security_protocol(self) -> str: ...
    @property
    def kafka_sasl_mechanism(self) -> str | None: ...
    @property
    def kafka_sasl_username(self) -> str | None: ...
    @property
    def kafka_sasl_password(self) -> SecretStr | None: ...
    @property
    def kafka_ssl_cafile(self) -> str | None: ...
    @property
    def kafka_ssl_certfile(self) -> str | None: ...
    @property
    def kafka_ssl_keyfile(self) -> str | None: ...
    @property
    def topic_adjustments(self) -> str: ...
    @property
    def topic_freezes(self) -> str: ...
    @property
    def topic_orders(self) -> str: ...
    @property
    def topic_outcomes(self) -> str: ...
    @property
    def topic_dead_letters(self) -> str: ...
    @property
    def topic_audit(self) -> str: ...
