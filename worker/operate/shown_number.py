"""Asks the brokerage about a number that a person gives, before the decision: what it shows is kept with the evidence."""

import asyncio
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.errors import RefusedByGuardError, SettingsError
from worker.ledger.backoff import NEW_SECOND_S
from worker.ledger.verdicts import Request
from worker.operate.resolve import Applied, Said
from worker.settings import Settings
from worker.store.engine import transaction
from worker.store.histories import read_commands, read_histories
from worker.whale.client import WhaleClient
from worker.whale.entry import Intent, Reader
from worker.whale.shown import Shown, look_for_number
from worker.whale.sign import Credentials
from worker.whale.verdict import REPEATED_CODE
from worker.whale.wire import Answer, Exchange, read_envelope

NOT_ASKED = "the brokerage was not asked"


async def check_number(engine: AsyncEngine, settings: Settings, said: Said) -> Said:
    """Return what was said with what the brokerage shows of its number, or why that is not known.

    Raises RefusedByGuardError where it shows that the number is not this command's. Holds no lock while it asks.
    """
    if not isinstance(said.answer, Applied) or said.answer.number is None or said.expiry:
        return said
    shown = await _ask(engine, settings, said, said.answer.number)
    if shown.verdict == "not_ours":
        raise RefusedByGuardError(f"{shown.told}; look again, or --number-unknown where its number cannot be had")
    return replace(said, checked=shown.told)


async def _ask(engine: AsyncEngine, settings: Settings, said: Said, number: str) -> Shown:
    if not _can_ask(settings):
        return Shown("unknown", f"{NOT_ASKED}: its settings are not given")
    async with transaction(engine) as connection:
        command = (await read_commands(connection, [said.command_id]))[said.command_id]
        attempts = (await read_histories(connection, [said.command_id]))[said.command_id].attempts
    first_sent_at = attempts[0].opened_at if attempts else command.accepted_at
    intent = Intent(command.command_id, command.account_no, command.payload)
    try:
        async with WhaleClient(
            url=settings.whale_base_url,
            credentials=Credentials(
                settings.whale_app_key,
                settings.whale_app_secret.get_secret_value(),
                settings.whale_access_token.get_secret_value(),
            ),
            timeout_s=settings.whale_timeout_s,
            pool_size=1,
            allow_http=settings.whale_allow_http,
            proxy=settings.whale_proxy,
        ) as client:
            reader = _patient(client)
            return await look_for_number(reader, command.command_type, intent, number, first_sent_at.timestamp())
    except SettingsError as error:
        return Shown("unknown", f"{NOT_ASKED}: {error}")


def _patient(client: WhaleClient) -> Reader:
    """Read, and once more in a later second where an equal read of this second was taken for a repeat."""

    async def read(request: Request) -> Exchange:
        exchange = await client.read(request)
        envelope = read_envelope(exchange.body) if isinstance(exchange, Answer) else None
        if envelope is None or envelope.code != REPEATED_CODE:
            return exchange
        await asyncio.sleep(NEW_SECOND_S)
        return await client.read(request)

    return read


def _can_ask(settings: Settings) -> bool:
    secrets = (settings.whale_app_secret, settings.whale_access_token)
    given = (settings.whale_base_url, settings.whale_app_key, *(secret.get_secret_value() for secret in secrets))
    return all(given)
