"""Kafka and Postgres in containers, for `LEDGER_TEST_PARTS=docker`; needs a Docker engine."""

import asyncio
import os
from contextlib import ExitStack

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from testcontainers.core.container import DockerContainer
from testcontainers.postgres import PostgresContainer

from sandbox.parts.ports import free_port
from tests.support.parts import DATABASE, KAFKA
from tests.support.waiting import wait_until


def start_containers(stack: ExitStack, missing: list[str]) -> None:
    """Start what is missing, set its variable, and block until it answers."""
    if KAFKA in missing:
        os.environ[KAFKA] = _start_kafka(stack)
        stack.callback(os.environ.pop, KAFKA, None)
    if DATABASE in missing:
        os.environ[DATABASE] = _start_postgres(stack)
        stack.callback(os.environ.pop, DATABASE, None)


def _start_postgres(stack: ExitStack) -> str:
    container = PostgresContainer("postgres:18", username="ledger", dbname="ledger", driver=None)
    container.with_command("postgres -c max_connections=200")
    stack.enter_context(container)
    return str(container.get_connection_url())


def _start_kafka(stack: ExitStack) -> str:
    port = free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }
    container = DockerContainer("apache/kafka:4.4.0").with_bind_ports(port, port)
    for name, value in settings.items():
        container.with_env(name, value)
    stack.enter_context(container)
    bootstrap = f"127.0.0.1:{port}"
    wait_until(lambda: asyncio.run(_answers(bootstrap)), 60, "Kafka's container answers")
    return bootstrap


async def _answers(bootstrap: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
    try:
        await admin.start()
    except KafkaError:
        return False
    else:
        return True
    finally:
        await admin.close()
