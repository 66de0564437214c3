"""Why Kafka is not reached, in one sentence: aiokafka logs it and raises only that it could not.

Whoever failed to connect dials again here, once, and sees the error itself: the handshake's, the login's or the network's.
"""

import asyncio
import socket
import ssl
from typing import Any

from aiokafka import errors as refused
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.metadata import MetadataRequest

from worker.errors import PartUnavailableError
from worker.kafka.ports import KafkaSettings
from worker.kafka.security import client_options

DIAL_TIMEOUT_MS = 5_000
BROKERS_MAX = 3
CLOSE_DEADLINE_S = 1.0
CONNECTION_OPTIONS = (
    "client_id",
    "security_protocol",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
)

X509_NOT_YET_VALID, X509_EXPIRED = 9, 10  # OpenSSL's X509_V_ERR_*
X509_OTHER_NAME = (62, 64)


async def unreachable(settings: KafkaSettings, error: BaseException) -> PartUnavailableError:
    """Return what to raise where connecting ended with `error`: what was seen on dialling again says more."""
    told = await why_unreachable(settings)
    if told is None:
        told = f"Kafka at {settings.kafka_bootstrap_servers} does not answer: {error!r}"
    return PartUnavailableError(told)


async def why_unreachable(settings: KafkaSettings) -> str | None:
    """Dial the servers, and what they say the brokers' addresses are; None where all of it answers now. Raises SettingsError."""
    options = {name: value for name, value in client_options(settings).items() if name in CONNECTION_OPTIONS}
    servers = [server.strip() for server in settings.kafka_bootstrap_servers.split(",")]
    told: list[str] = []
    for server in servers:
        name, _, number = server.rpartition(":")
        found = await _dial(name.strip("[]"), int(number), options, settings)
        if isinstance(found, str):
            told.append(found)
            continue
        for host, port in found[:BROKERS_MAX]:
            beyond = await _dial(host, port, options, settings)
            if isinstance(beyond, str):
                return f"{beyond} (an address that Kafka at {server} gave)"
        return None
    # a server that answers wrongly tells more than one that is down
    return next((one for one in told if not one.startswith("Kafka is not reachable")), told[0])


async def _dial(host: str, port: int, options: dict[str, Any], settings: KafkaSettings) -> list[tuple[str, int]] | str:
    """Connect once and ask for the brokers' addresses; or say in one sentence why that cannot be."""
    connection = AIOKafkaConnection(host, port, request_timeout_ms=DIAL_TIMEOUT_MS, **options)
    try:
        await connection.connect()
        answer = await connection.send(MetadataRequest([]))
        return [(broker[1], broker[2]) for broker in answer.brokers]
    except (refused.KafkaError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        return explain(f"{host}:{port}", _root(error), settings)
    finally:
        closed = connection.close()
        if connection._protocol is not None:  # noqa: SLF001 - what was never open is never told to be closed
            await asyncio.wait([closed], timeout=CLOSE_DEADLINE_S)


def _root(error: BaseException) -> BaseException:
    """Return what ended the connection: the library wraps it into one that says only that it was closed."""
    while isinstance(error, refused.KafkaConnectionError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def explain(at: str, error: BaseException, settings: KafkaSettings) -> str:
    """Say what an error on connecting to `at` means and what to do; never with a secret."""
    protocol = f"LEDGER_KAFKA_SECURITY_PROTOCOL (it is {settings.kafka_security_protocol})"
    match error:
        case ssl.SSLCertVerificationError():
            return _of_its_certificate(at, error)
        case ssl.SSLError():
            return _of_tls(at, error, settings, protocol)
        case refused.SaslAuthenticationFailed() | refused.AuthenticationFailedError():
            return (
                f"Kafka at {at} refuses user {settings.kafka_sasl_username} or its password "
                f"({settings.kafka_sasl_mechanism}): correct LEDGER_KAFKA_SASL_USERNAME or LEDGER_KAFKA_SASL_PASSWORD"
            )
        case refused.UnsupportedSaslMechanismError():
            return f"Kafka at {at} does not take {settings.kafka_sasl_mechanism}: correct LEDGER_KAFKA_SASL_MECHANISM"
        case refused.IllegalSaslStateError():
            return f"Kafka at {at} asks for no login: correct {protocol}"
        case asyncio.IncompleteReadError() | ConnectionResetError() | refused.KafkaConnectionError():
            return f"Kafka at {at} cut the connection before it answered: correct {protocol}, or see its log"
        case socket.gaierror():
            return f"Kafka is not reachable: the name {at} is not known; correct LEDGER_KAFKA_BOOTSTRAP_SERVERS"
        case TimeoutError():
            return f"Kafka is not reachable: {at} does not answer; start it, or set LEDGER_KAFKA_BOOTSTRAP_SERVERS"
        case _:
            return f"Kafka is not reachable: nothing listens at {at}; start it, or set LEDGER_KAFKA_BOOTSTRAP_SERVERS"


def _of_its_certificate(at: str, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == X509_EXPIRED:
        return f"the certificate of Kafka at {at} has expired: renew it there"
    if error.verify_code == X509_NOT_YET_VALID:
        return f"the certificate of Kafka at {at} is not valid yet: compare the clocks"
    if error.verify_code in X509_OTHER_NAME:
        return (
            f"the certificate of Kafka at {at} is for another name: "
            "give LEDGER_KAFKA_BOOTSTRAP_SERVERS a name that it holds, or have it issued for this one"
        )
    return (
        f"the certificate of Kafka at {at} is of an authority that is not trusted ({error.verify_message}): "
        "set LEDGER_KAFKA_SSL_CAFILE to a file with its authority"
    )


def _of_tls(at: str, error: ssl.SSLError, settings: KafkaSettings, protocol: str) -> str:
    reason = error.reason or ""
    if "ALERT" not in reason:
        return f"Kafka at {at} does not speak TLS there ({reason or 'no handshake'}): correct {protocol}"
    if settings.kafka_ssl_certfile is None:
        return (
            f"Kafka at {at} asks for a client certificate ({reason}): "
            "set LEDGER_KAFKA_SSL_CERTFILE and LEDGER_KAFKA_SSL_KEYFILE"
        )
    return (
        f"Kafka at {at} refuses the client certificate ({reason}): the one in LEDGER_KAFKA_SSL_CERTFILE has expired, "
        "or is of an authority that the broker does not trust"
    )
