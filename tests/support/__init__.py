"""What tests use besides fixtures: waiting, commands, Kafka, databases, the brokerage's audit, worker processes."""

from tests.support.brokerage import SandboxClient
from tests.support.commands import SAMPLES, command
from tests.support.kafka import Topics, create_topics, produce, produce_commands, read_outcomes, read_records
from tests.support.waiting import wait_until, wait_until_async
from tests.support.worker import QUICK, WorkerProcess

__all__ = [
    "QUICK",
    "SAMPLES",
    "SandboxClient",
    "Topics",
    "WorkerProcess",
    "command",
    "create_topics",
    "produce",
    "produce_commands",
    "read_outcomes",
    "read_records",
    "wait_until",
    "wait_until_async",
]
