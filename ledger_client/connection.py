"""Where Kafka is, how to speak to it, and what the topics are called; the variables are those of the worker."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from ledger_client.errors import SettingsError
from schemas.commands import FREEZES, ORDERS

PREFIX = "LEDGER_"
PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
REQUEST_TIMEOUT_MS = 15_000


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of the topics that others than the worker use."""

    adjustments: str = "ledger.commands.adjustments.v1"
    freezes: str = "ledger.commands.freezes.v1"
    orders: str = "ledger.commands.orders.v1"
    outcomes: str = "ledger.outcomes.v1"

    def of_type(self, command_type: str) -> str:
        """Return the topic on which a command type belongs."""
        if command_type in FREEZES:
            return self.freezes
        return self.orders if command_type in ORDERS else self.adjustments


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach Kafka. Secrets are in no repr."""

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    topics: Topics = Topics()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read `LEDGER_KAFKA_…` and `LEDGER_TOPIC_…`, each also from the file that `…_FILE` names. Raises SettingsError."""
        given = os.environ if environ is None else environ
        names = [one.name for one in fields(cls) if one.name != "topics"]
        values = {name: value for name in names if (value := _value(given, f"{PREFIX}KAFKA_{name.upper()}"))}
        topics = {
            one.name: value for one in fields(Topics) if (value := _value(given, f"{PREFIX}TOPIC_{one.name.upper()}"))
        }
        if "bootstrap_servers" not in values:
            raise SettingsError(f"missing: {PREFIX}KAFKA_BOOTSTRAP_SERVERS, host:port of Kafka")
        return cls(**values, topics=Topics(**topics))

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments that every aiokafka client takes. Raises SettingsError."""
        protocol = self.security_protocol.upper()
        if protocol not in PROTOCOLS:
            raise SettingsError(f"{PREFIX}KAFKA_SECURITY_PROTOCOL is none of {', '.join(PROTOCOLS)}")
        options: dict[str, Any] = {
            "bootstrap_servers": [server.strip() for server in self.bootstrap_servers.split(",")],
            "client_id": "ledger-client",
            "security_protocol": protocol,
            "request_timeout_ms": REQUEST_TIMEOUT_MS,
            "metadata_max_age_ms": 30_000,
        }
        if protocol.endswith("SSL"):
            options["ssl_context"] = self._ssl_context()
        if protocol.startswith("SASL_"):
            if not self.sasl_username or not self.sasl_password:
                raise SettingsError(f"{protocol} needs {PREFIX}KAFKA_SASL_USERNAME and {PREFIX}KAFKA_SASL_PASSWORD")
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.sasl_username,
                "sasl_plain_password": self.sasl_password,
            }
        return options

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ssl_cafile)
            if self.ssl_certfile is not None:
                context.load_cert_chain(self.ssl_certfile, self.ssl_keyfile)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(f"{PREFIX}KAFKA_SSL_…: the certificates cannot be read: {error}") from error
        return context


def _value(environ: Mapping[str, str], name: str) -> str:
    path = environ.get(f"{name}_FILE", "")
    if not path:
        return environ.get(name, "")
    try:
        return Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as error:
        raise SettingsError(f"{name}_FILE names a file that cannot be read") from error
