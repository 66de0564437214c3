"""Ground for one measurement: a database, topics and a consumer group of its own, and a brokerage as slow as it asks for."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

import psycopg

from benchmarks.bare import CREDENTIALS
from benchmarks.running import environment, prepare
from sandbox.parts import Brokerage, Parts
from worker import clock

NO_LIMIT_PER_S = 1_000_000
ASK_DEADLINE_S = 60
SWEEP_DELAY_S = 600
KEYS = (
    *("--app-key", CREDENTIALS.app_key, "--app-secret", CREDENTIALS.app_secret),
    *("--access-token", CREDENTIALS.access_token),
)
_TOPICS = ("adjustments", "freezes", "orders", "outcomes", "dead_letters", "audit")


@dataclass(frozen=True)
class Ground:
    """What a measurement stands on; `env` is what its workers are started with."""

    parts: Parts
    brokerage: Brokerage
    database_url: str
    env: dict[str, str]

    @property
    def commands_topic(self) -> str:
        """Where adjustments are sent."""
        return self.env["LEDGER_TOPIC_ADJUSTMENTS"]

    @property
    def outcomes_topic(self) -> str:
        """Where outcomes come."""
        return self.env["LEDGER_TOPIC_OUTCOMES"]

    def ask(self, path: str, body: object = None) -> Any:  # noqa: ANN401
        """Ask the brokerage's own endpoints (docs/sandbox.md): POST with a body, GET without."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self.brokerage.url}/_sandbox/{path}", data), timeout=ASK_DEADLINE_S) as answer:  # noqa: S310
            return json.load(answer)


@contextmanager
def new_ground(
    parts: Parts, *, latency_ms: float = 0, in_flight: int = 200, rate_per_s: int = NO_LIMIT_PER_S, **settings: str
) -> Iterator[Ground]:
    """Make it, migrated and with its topics; the database is dropped and the brokerage stopped at the end.

    `settings` are the worker's, by their names without `LEDGER_`, in small letters.
    """
    name = f"bench_{clock.new_id().hex}"
    own_sweep = ["--sweep-delay-s", str(SWEEP_DELAY_S)]  # who ends an adjustment late shall not be forestalled
    brokerage = Brokerage(parts.programs, [*KEYS, *own_sweep, "--latency-ms", str(latency_ms)])
    brokerage.start()
    with psycopg.connect(parts.postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        url = parts.postgres.url_of(name)
        env = environment(parts, brokerage.url, in_flight, rate_per_s)
        env |= {f"LEDGER_TOPIC_{topic.upper()}": f"{name}.{topic}" for topic in _TOPICS}
        env |= {f"LEDGER_{setting.upper()}": value for setting, value in settings.items()}
        env |= {"LEDGER_DATABASE_URL": url, "LEDGER_KAFKA_GROUP_ID": name}
        prepare(env)
        yield Ground(parts, brokerage, url, env)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    brokerage.stop()
