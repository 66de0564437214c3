"""Real parts once per run, and per test what it needs of its own. LEDGER_TEST_PARTS=none starts none, for unit tests alone."""

import asyncio
import logging
import os
import secrets
import subprocess
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from sandbox.parts.brokerage import Brokerage
from sandbox.parts.errors import PartsError
from sandbox.parts.kafka import Kafka
from sandbox.parts.postgres import Postgres
from sandbox.parts.programs import Programs
from tests.support import nursery, parts, printed, turns
from tests.support.brokerage import SandboxClient
from tests.support.database import Databases
from tests.support.kafka import Topics, delete_topics
from tests.support.logins import login_of
from tests.support.worker import KEYS, WorkerProcess, clean_env, run_worker_cli

_RUN = pytest.StashKey[ExitStack]()
_WITHOUT_PARTS = {"unit", "contract", "tidy", "fuzz"}
_LOG_LINES_SHOWN = 150
_BROKERAGE_KEYS = ("--app-key", "test-key", "--app-secret", "test-secret", "--access-token", "test-token")

# How fast a machine is says nothing about a property; what is found prints how to run it again.
settings.register_profile("ledger", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("ledger")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Start the parts where pytest's workers can inherit their addresses; without workers the first test asks for them."""
    config.stash[_RUN] = ExitStack()
    controls_workers = not hasattr(config, "workerinput") and config.getoption("numprocesses", None)
    if controls_workers and parts.are_wanted() and not _needs_no_parts(config):
        _start(config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pytest's workers begin with what takes longest: one that began last would keep all others waiting."""
    items[:] = turns.slowest_first(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Take back what a test's own `configure` has changed for all that follow in its process: levels, and where lines go."""
    root, ours = logging.getLogger(), logging.getLogger("ledger")
    handlers, level, our_level = root.handlers[:], root.level, ours.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    ours.setLevel(our_level)
    structlog.reset_defaults()


def pytest_unconfigure(config: pytest.Config) -> None:
    nursery.close_shared()
    config.stash[_RUN].close()


def _needs_no_parts(config: pytest.Config) -> bool:
    here = Path(__file__).parent
    folders = [Path(str(one).partition("::")[0]).absolute() for one in config.args]
    firsts = {folder.relative_to(here).parts[:1] for folder in folders if folder.is_relative_to(here)}
    return config.option.collectonly or firsts <= {(name,) for name in _WITHOUT_PARTS}


def _start(config: pytest.Config) -> None:
    try:
        parts.start_missing(config.stash[_RUN])
    except PartsError as error:
        pytest.exit(str(error), returncode=1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the logs of the test's own programs when it goes wrong."""
    report = yield
    programs = getattr(item, "funcargs", {}).get("programs")
    if report.outcome != "passed" and isinstance(programs, Programs):
        for log in sorted(programs.folder.glob("*/*.log")):
            lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
            report.sections.append((f"end of {log.parent.name}/{log.name}", "\n".join(lines)))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Hold a test to what it is marked with: what the command line printed for it was as each schema says."""
    printed.seen.clear()
    yield
    promised = {name for marker in item.iter_markers("prints") for name in marker.args}
    assert promised <= printed.seen, f"not printed: {sorted(promised - printed.seen)}"


@pytest.fixture(scope="session")
def shared_parts(pytestconfig: pytest.Config) -> None:
    if not parts.are_wanted():
        pytest.fail(f"this test needs Kafka or Postgres, and {parts.CHOICE}=none forbids them")
    _start(pytestconfig)


@pytest.fixture(scope="session")
def kafka(shared_parts: None) -> str:
    """host:port of the Kafka that all tests share."""
    return os.environ[parts.KAFKA]


@pytest.fixture(scope="session")
def databases(shared_parts: None) -> Databases:
    return Databases(os.environ[parts.DATABASE])


@pytest.fixture
def empty_database_url(databases: Databases) -> Iterator[str]:
    """A database of this test's own, without tables."""
    with databases.empty() as url:
        yield url


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """A database of this test's own, at the head revision."""
    with databases.migrated() as url:
        yield url


@pytest.fixture
def login(database_url: str) -> Iterator[Callable[..., str]]:
    """Log in to this test's database as a member of these group roles and of nothing else."""
    with ExitStack() as made:
        yield lambda *groups: made.enter_context(login_of(database_url, *groups))


@pytest.fixture
def programs() -> Iterator[Programs]:
    """What this test starts; all of it is killed after the test."""
    with Programs() as started:
        yield started


@pytest.fixture
def forks(programs: Programs) -> Iterator[Programs | nursery.Nursery]:
    """What starts this test's workers and brokerages, forked: `programs` where the start of a process is looked at."""
    with nursery.shared().logging_in(programs) as forking:
        yield forking


@pytest.fixture
def own_kafka(programs: Programs) -> Callable[[], Kafka]:
    """Start a broker for this test alone, to be killed and restarted."""

    def start() -> Kafka:
        broker = Kafka(programs)
        broker.start()
        return broker

    return start


@pytest.fixture
def own_postgres(programs: Programs) -> Callable[[], Postgres]:
    """Start a server for this test alone, to be killed and restarted."""

    def start() -> Postgres:
        server = Postgres(programs)
        server.start()
        return server

    return start


@pytest.fixture
def topics_prefix(kafka: str) -> Iterator[str]:
    """What this test's topics and consumer group begin with; its topics are deleted afterwards."""
    prefix = f"t{secrets.token_hex(5)}"
    yield prefix
    asyncio.run(delete_topics(kafka, prefix))


@pytest.fixture
def topics(topics_prefix: str) -> Topics:
    """The names of this test's topics, which do not exist yet."""
    return Topics.with_prefix(topics_prefix)


@pytest.fixture
def start_brokerage(forks: Programs | nursery.Nursery) -> Callable[..., Brokerage]:
    """Start a sandbox with further options; it checks signatures made with the keys of `worker_env`."""

    def start(*options: str) -> Brokerage:
        brokerage = Brokerage(forks, [*_BROKERAGE_KEYS, *options])  # type: ignore[arg-type]
        brokerage.start()
        return brokerage

    return start


@pytest.fixture
def brokerage(start_brokerage: Callable[..., Brokerage]) -> SandboxClient:
    """A sandbox of this test's own; the worker of `worker_env` calls it."""
    return SandboxClient(start_brokerage().url)


@pytest.fixture
def worker_env(
    kafka: str, database_url: str, topics_prefix: str, topics: Topics, brokerage: SandboxClient
) -> dict[str, str]:
    """The environment of a worker or command line: migrated database, topics still to be applied."""
    return clean_env(
        {
            "LEDGER_KAFKA_BOOTSTRAP_SERVERS": kafka,
            "LEDGER_KAFKA_GROUP_ID": f"{topics_prefix}.worker",
            "LEDGER_DATABASE_URL": database_url,
            "LEDGER_WHALE_BASE_URL": brokerage.url,
            "LEDGER_ACTOR": "tester",
            "LEDGER_LOG_FORMAT": "json",
            **KEYS,
            **topics.env(),
        }
    )


@pytest.fixture
def run_cli(request: pytest.FixtureRequest) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run `ledger-worker ARGUMENTS`; `env` defaults to `worker_env`, `stdin` to nothing."""

    def run(*arguments: str, env: dict[str, str] | None = None, **options: Any) -> "subprocess.CompletedProcess[str]":
        chosen = request.getfixturevalue("worker_env") if env is None else env
        return run_worker_cli(*arguments, env=chosen, **options)

    return run


@pytest.fixture
def applied_topics(topics: Topics, worker_env: dict[str, str]) -> Topics:
    """This test's topics, made by `topics apply`."""
    done = run_worker_cli("topics", "apply", env=worker_env)
    assert done.returncode == 0, f"topics apply ended with {done.returncode}: {done.stderr}"
    return topics


@pytest.fixture
def start_worker(
    programs: Programs, forks: Programs | nursery.Nursery, worker_env: dict[str, str], applied_topics: Topics
) -> Callable[..., WorkerProcess]:
    """Start `ledger-worker run ARGUMENTS` with settings over `worker_env`, and wait until it is ready.

    `fresh`: not forked, where the settings are the interpreter's too.
    """

    def start(
        *arguments: str, settings: dict[str, str] | None = None, wait: bool = True, fresh: bool = False
    ) -> WorkerProcess:
        worker = WorkerProcess(programs if fresh else forks, {**worker_env, **(settings or {})}, *arguments)
        return worker.wait_ready() if wait else worker

    return start
