"""What acceptance tests share: one test's own topics, database, brokerage and worker processes, seen from outside."""

import pytest

from tests.support import Topics
from tests.support.upstream import Upstream


@pytest.fixture
def upstream(kafka: str, applied_topics: Topics) -> Upstream:
    """Sends this test's commands and reads what became of them."""
    return Upstream(kafka, applied_topics)
