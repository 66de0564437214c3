"""Settings → how every aiokafka client connects."""

import ssl
from typing import Any

from worker.errors import SettingsError
from worker.kafka.cut import look_before_sending
from worker.kafka.ports import KafkaSettings

REQUEST_TIMEOUT_MS = 15_000  # a broker that took a request and says nothing for this long is as good as gone


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """Return the keyword arguments that consumer, producer and admin client share. Raises SettingsError."""
    look_before_sending()
    protocol = settings.kafka_security_protocol.upper()
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.kafka_bootstrap_servers.split(",")],
        "client_id": "ledger-worker",
        "security_protocol": protocol,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "metadata_max_age_ms": 30_000,  # new partitions and moved leaders are seen within this, not after 5 minutes
    }
    if protocol in ("SSL", "SASL_SSL"):
        options["ssl_context"] = _ssl_context(settings)
    if protocol.startswith("SASL_"):
        options |= _sasl(settings)
    return options


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
        if settings.kafka_ssl_certfile is not None:
            context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"LEDGER_KAFKA_SSL_*: the certificates cannot be read: {error}") from error
    return context


def _sasl(settings: KafkaSettings) -> dict[str, Any]:
    if settings.kafka_sasl_username is None or settings.kafka_sasl_password is None:
        raise SettingsError(
            f"LEDGER_KAFKA_SASL_USERNAME and LEDGER_KAFKA_SASL_PASSWORD are needed with {settings.kafka_security_protocol}"
        )
    return {
        "sasl_mechanism": settings.kafka_sasl_mechanism or "PLAIN",
        "sasl_plain_username": settings.kafka_sasl_username,
        "sasl_plain_password": settings.kafka_sasl_password.get_secret_value(),
    }
