"""One guarded broker for all these tests; each has topics, a database and a brokerage of its own."""

from collections.abc import Iterator

import pytest

from sandbox.parts.programs import Programs
from tests.support.guarded_kafka import GuardedKafka


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedKafka]:
    with Programs() as programs:
        broker = GuardedKafka(programs, tmp_path_factory.mktemp("guarded"))
        broker.start()
        yield broker


@pytest.fixture
def kafka(guarded: GuardedKafka) -> str:
    """Where the tests themselves go in: with all rights, and without TLS."""
    return guarded.kafka.bootstrap
