"""What tests use besides fixtures: waiting, commands, Kafka, databases, the brokerage's audit, worker processes."""

from tests.support.brokerage import SandboxClient
from tests.support.commands import new_account, new_command, new_command_id
from tests.support.kafka import Topics, create_topics, produce, produce_commands, read_outcomes, read_records
from tests.support.waiting import wait_until, wait_until_async
from tests.support.worker import QUICK, WorkerProcess

__all__ = [
    "QUICK",
    "SandboxClient",
    "Topics",
    "WorkerProcess",
    "create_topics",
    "new_account",
    "new_command",
    "new_command_id",
    "produce",
    "produce_commands",
    "read_outcomes",
    "read_records",
    "wait_until",
    "wait_until_async",
]
