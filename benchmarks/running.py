"""The worker as a process of its own, on a database and topics that were made for it."""

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bare import CREDENTIALS
from sandbox.parts import Parts, Program
from sandbox.parts.ports import free_port

CHECKOUT = Path(__file__).parents[1]
READY_DEADLINE_S = 60
STEP_DEADLINE_S = 120


def environment(parts: Parts, brokerage_url: str, in_flight: int, rate_per_s: int) -> dict[str, str]:
    """Return the worker's environment: every default but what a benchmark must set."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("LEDGER_")}
    return inherited | {
        "PYTHONPATH": str(CHECKOUT),
        "LEDGER_KAFKA_BOOTSTRAP_SERVERS": parts.kafka.bootstrap,
        "LEDGER_DATABASE_URL": parts.postgres.url,
        "LEDGER_WHALE_BASE_URL": brokerage_url,
        "LEDGER_WHALE_APP_KEY": CREDENTIALS.app_key,
        "LEDGER_WHALE_APP_SECRET": CREDENTIALS.app_secret,
        "LEDGER_WHALE_ACCESS_TOKEN": CREDENTIALS.access_token,
        "LEDGER_WHALE_RATE_PER_S": str(rate_per_s),
        "LEDGER_WHALE_IN_FLIGHT_MAX": str(in_flight),
        "LEDGER_LOG_FORMAT": "json",
    }


def prepare(env: Mapping[str, str]) -> None:
    """Bring the database to its revision and make the topics."""
    for arguments in (("migrate",), ("topics", "apply")):
        subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            env=dict(env),
            cwd=CHECKOUT,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=STEP_DEADLINE_S,
        )


@contextmanager
def running_worker(parts: Parts, env: Mapping[str, str], *arguments: str) -> Iterator[Program]:
    """Run one worker, with these arguments of `run`, until the block ends, then drain it; RuntimeError unless it ends with 0."""
    port = free_port()
    log = parts.programs.new_folder("worker") / "worker.log"
    argv = [sys.executable, "-m", "worker", "run", *arguments]
    worker = parts.programs.start("the worker", argv, log, env={**env, "LEDGER_HTTP_PORT": str(port)}, cwd=CHECKOUT)
    worker.wait_ready(lambda: _is_ready(port), READY_DEADLINE_S)
    yield worker
    status = worker.stop(deadline_s=60)
    if status != 0:
        raise RuntimeError(f"the worker ended with {status}{worker.last_lines()}")


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
