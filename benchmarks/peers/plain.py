"""A careful FastStream worker: the members of one consumer group, each a message at a time in one database transaction.

A member notes the command's id, so that a duplicate ends there, makes the call, stores the answer and the outcome, commits,
publishes the outcome and only then commits its offset. No record is lost and no record is done twice while all goes well.
What it does not do is what the worker is for: a call whose answer was lost, or that a crash came after, is made again.

`python -m benchmarks.peers.plain --bootstrap B --database URL --brokerage URL --commands TOPIC --outcomes TOPIC --members N`
"""

import argparse
import json
import sys
from typing import Any
from uuid import UUID

import aiohttp
import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker
from pydantic import BaseModel
from sqlalchemy import Column, MetaData, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from benchmarks.bare import CREDENTIALS
from worker import clock
from worker.whale.operations import REGISTRY, Intent, Variants
from worker.whale.sign import sign

metadata = MetaData()
inbox = Table(
    "inbox",
    metadata,
    Column("command_id", Uuid, primary_key=True),
    Column("account_no", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    Column("answer", JSONB),
    Column("outcome", JSONB),
)


class Command(BaseModel):
    """A command as it is in Kafka."""

    command_id: UUID
    type: str
    account_no: str
    issued_at: str
    issued_by: str
    payload: dict[str, Any]


class Peer:
    """The handler that every member runs."""

    def __init__(self, engine: AsyncEngine, session: aiohttp.ClientSession, brokerage_url: str) -> None:
        self._engine, self._session, self._url = engine, session, brokerage_url

    async def take(self, command: Command) -> bytes | None:
        """Do one command and return its outcome, None for a duplicate."""
        async with self._engine.begin() as connection:
            noted = {"command_id": command.command_id, "account_no": command.account_no, "payload": command.payload}
            first = insert(inbox).values(noted).on_conflict_do_nothing().returning(inbox.c.command_id)
            if (await connection.execute(first)).one_or_none() is None:
                return None
            answer = await self._call(command)
            kind = "command.succeeded" if answer.get("code") in ("0", 0, "200", 200) else "command.rejected"
            outcome = {"type": kind, "command_id": str(command.command_id), "account_no": command.account_no}
            stored = inbox.update().where(inbox.c.command_id == command.command_id)
            await connection.execute(stored.values(answer=answer, outcome=outcome))
        return json.dumps(outcome, separators=(",", ":")).encode()

    async def _call(self, command: Command) -> dict[str, Any]:
        intent = Intent(command.command_id, command.account_no, command.payload)
        request = REGISTRY[command.type].build(intent, Variants())
        headers = sign(request, CREDENTIALS, int(clock.wall_s())).headers
        url = self._url + request.path
        async with self._session.request(request.method, url, data=request.body, headers=headers) as answer:
            answer.raise_for_status()
            read: dict[str, Any] = await answer.json()
            return read


async def run(given: argparse.Namespace) -> None:
    """Work until SIGTERM."""
    url = given.database.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_async_engine(url, pool_size=given.members)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    broker = KafkaBroker(given.bootstrap, acks="all", enable_idempotence=True, logger=None)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        peer = Peer(engine, session, given.brokerage)

        async def handle(command: Command) -> None:
            outcome = await peer.take(command)
            if outcome is not None:
                await broker.publish(outcome, given.outcomes, key=command.account_no.encode())

        for _ in range(given.members):
            member = broker.subscriber(
                given.commands, group_id="peer", auto_offset_reset="earliest", ack_policy=AckPolicy.NACK_ON_ERROR
            )
            member(handle)
        await FastStream(broker, logger=None).run()
    await engine.dispose()


def main() -> int:
    """Read the arguments and work."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.plain")
    for name in ("bootstrap", "database", "brokerage", "commands", "outcomes"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--members", type=int, default=20)
    uvloop.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
