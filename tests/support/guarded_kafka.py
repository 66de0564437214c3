"""A real Kafka that asks who comes: TLS, client certificates, SASL, and an authorizer that refuses what was not granted."""

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from sandbox.parts.kafka import Guarded, Kafka, Listener
from sandbox.parts.programs import Programs
from tests.support.waiting import wait_until_async

PASSWORD = "the-worker's-own-password"
USERS = ("worker", "operator", "upstream", "analytics")
TOPIC, GROUP = 2, 3  # Kafka's numbers of what an ACL is about
OPERATIONS = {
    "READ": 3,
    "WRITE": 4,
    "CREATE": 5,
    "ALTER": 7,
    "DESCRIBE": 8,
    "DESCRIBE_CONFIGS": 10,
    "ALTER_CONFIGS": 11,
}
_LITERAL, _ALLOW = 3, 3
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
_NAMES = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Grant:
    """One ACL: whoever it is given to may do `operation` to the topic or group of that name."""

    operation: str
    name: str
    kind: int = TOPIC

    def __str__(self) -> str:
        return f"{self.operation} {self.name}"

    def acl(self, user: str) -> tuple[int, str, int, str, str, int, int]:
        """Return the fields of Kafka's requests about it."""
        return self.kind, self.name, _LITERAL, f"User:{user}", "*", OPERATIONS[self.operation], _ALLOW


class GuardedKafka:
    """One broker, and what its clients need. Whoever comes without TLS or without a name may do everything."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self._folder = folder
        self.authority, self.stranger = trustme.CA(), trustme.CA()
        ended = datetime.now(UTC) - timedelta(days=1)  # noqa: TID251
        self._past = {"not_before": ended - timedelta(days=1), "not_after": ended}
        self.authority.cert_pem.write_to_path(str(folder / "authority.pem"))
        self.stranger.cert_pem.write_to_path(str(folder / "stranger.pem"))
        self.kafka = Kafka(programs, guarded=self._guarded())

    def _guarded(self) -> Guarded:
        good = self._keys("good", self.authority.issue_cert(*_NAMES))
        expired = self._keys("expired", self.authority.issue_cert(*_NAMES, **self._past))
        elsewhere = self._keys("elsewhere", self.authority.issue_cert("kafka.example"))
        trusts = {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(self._folder / "authority.pem")}
        asks = {"ssl.client.auth": "required", "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]*).*$/$1/"}
        plain = " ".join((f"{_PLAIN} required", *(f'user_{user}="{PASSWORD}"' for user in USERS)))
        sasl = {
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "plain.sasl.jaas.config": f"{plain};",
            "scram-sha-512.sasl.jaas.config": f"{_SCRAM} required;",
        }
        return Guarded(
            (
                Listener("TLS", "SSL", good),
                Listener("MTLS", "SSL", {**good, **trusts, **asks}),
                Listener("SASL", "SASL_SSL", {**good, **sasl}),
                Listener("EXPIRED", "SSL", expired),
                Listener("ELSEWHERE", "SSL", elsewhere),
            ),
            {
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
            },
            dict.fromkeys(USERS, PASSWORD),
        )

    def _keys(self, name: str, certificate: trustme.LeafCert) -> dict[str, str]:
        key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # the only form that Java reads
        path = self._folder / f"{name}.pem"
        path.write_bytes(b"".join((text, *(one.bytes() for one in certificate.cert_chain_pems))))
        return {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(path)}

    def start(self) -> None:
        """Start the broker."""
        self.kafka.start()

    def file(self, name: str) -> str:
        """The path of `authority` or `stranger`, for a client's LEDGER_KAFKA_SSL_CAFILE."""
        return str(self._folder / f"{name}.pem")

    def client_certificate(self, user: str, authority: trustme.CA, *, expired: bool = False) -> str:
        """Write key and certificate of a client and return the path of both in one file."""
        made = authority.issue_cert(f"{user}.example", common_name=user, **(self._past if expired else {}))
        path = self._folder / f"client-{os.urandom(4).hex()}.pem"
        path.write_bytes(made.private_key_and_cert_chain_pem.bytes())
        return str(path)

    def tls(self, listener: str = "TLS", *, authority: str = "authority") -> dict[str, str]:
        """Return the settings of a client that brings no name."""
        return {
            "LEDGER_KAFKA_BOOTSTRAP_SERVERS": self.kafka.at(listener),
            "LEDGER_KAFKA_SECURITY_PROTOCOL": "SSL",
            "LEDGER_KAFKA_SSL_CAFILE": self.file(authority),
        }

    def mtls(self, user: str = "worker") -> dict[str, str]:
        """Return the settings of a client whose certificate names it."""
        path = self.client_certificate(user, self.authority)
        return {**self.tls("MTLS"), "LEDGER_KAFKA_SSL_CERTFILE": path, "LEDGER_KAFKA_SSL_KEYFILE": path}

    def sasl(self, mechanism: str, user: str = "worker", password: str = PASSWORD) -> dict[str, str]:
        """Return the settings of a client with a password."""
        return {
            **self.tls("SASL"),
            "LEDGER_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "LEDGER_KAFKA_SASL_MECHANISM": mechanism,
            "LEDGER_KAFKA_SASL_USERNAME": user,
            "LEDGER_KAFKA_SASL_PASSWORD": password,
        }

    async def grant(self, user: str, grants: Iterable[Grant]) -> None:
        """Add ACLs; in effect when it returns."""
        async with self._admin() as admin:
            for one in grants:
                answer = await admin._send_request(CreateAclsRequest(*one.acl(user)))
                _check(answer.creation_responses)
                await _known(admin, one.acl(user), there=True)

    async def revoke(self, user: str, grants: Iterable[Grant]) -> None:
        """Take ACLs back; in effect when it returns."""
        async with self._admin() as admin:
            for one in grants:
                answer = await admin._send_request(DeleteAclsRequest(*one.acl(user)))
                _check(answer.filter_responses)
                assert all(response[2] for response in answer.filter_responses), f"{one} was not granted to {user}"
                await _known(admin, one.acl(user), there=False)

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


async def _known(admin: AIOKafkaAdminClient, acl: tuple[Any, ...], *, there: bool) -> None:
    """Wait until the broker's authorizer has it, or has it no more: the controller answers before."""

    async def is_so() -> bool:
        answer = await admin._send_request(DescribeAclsRequest(*acl))
        return bool(answer.resources) is there

    await wait_until_async(is_so)


def _check(responses: Iterable[Any]) -> None:
    for code, message, *_ in responses:
        if code:
            raise for_code(code)(message)


def worker_grants(topics: Mapping[str, str], group: str) -> list[Grant]:
    """What docs/security-kafka.md grants the worker; `topics` are its settings, LEDGER_TOPIC_…."""
    named = {name.removeprefix("LEDGER_TOPIC_"): topic for name, topic in topics.items()}
    reads = [Grant("READ", named[use]) for use in ("ADJUSTMENTS", "FREEZES", "ORDERS", "OUTCOMES")]
    writes = [Grant("WRITE", named[use]) for use in ("OUTCOMES", "DEAD_LETTERS", "AUDIT")]
    configs = [Grant("DESCRIBE_CONFIGS", topic) for topic in named.values()]
    return [*reads, *writes, *configs, Grant("READ", group, GROUP)]
