"""Kafka's jars: fetched once into a cache, checked against `kafka.lock.toml` at every start.

The lock was written by jgo from `org.apache.kafka:kafka_2.13:4.4.0`; it names each jar with its SHA-256 and no registry.
"""

import fcntl
import hashlib
import os
import tomllib
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.parts.errors import PartsError

LOCK = Path(__file__).with_name("kafka.lock.toml")
_CHECKOUT = Path(__file__).parents[2]
_CONNECTIONS = 8
_TIMEOUT_S = 30
_TRIES = 3


@dataclass(frozen=True)
class Jar:
    """One jar of the lock."""

    group: str
    name: str
    version: str
    classifier: str
    sha256: str

    def path_in(self, repository: Path) -> Path:
        """Return where a Maven repository keeps it."""
        tail = f"-{self.classifier}" if self.classifier else ""
        folder = repository.joinpath(*self.group.split("."), self.name, self.version)
        return folder / f"{self.name}-{self.version}{tail}.jar"

    def is_intact_in(self, repository: Path) -> bool:
        """Say whether it is there with the bytes of the lock."""
        path = self.path_in(repository)
        return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == self.sha256


def cache_folder() -> Path:
    """Return the folder for what is fetched: `LEDGER_PARTS_CACHE`, or `.cache/parts` in the checkout."""
    return Path(os.environ.get("LEDGER_PARTS_CACHE") or _CHECKOUT / ".cache" / "parts").absolute()


def locked_jars() -> list[Jar]:
    """Read the lock, in class path order."""
    entries = tomllib.loads(LOCK.read_text())["dependencies"]
    return [
        Jar(entry["groupId"], entry["artifactId"], entry["version"], entry.get("classifier", ""), entry["sha256"])
        for entry in entries
    ]


def class_path(say: Callable[[str], None]) -> list[Path]:
    """Return every jar of Kafka, fetching those that the cache lacks; without a network only a whole cache will do.

    Blocks; may be called by several processes at once. PartsError when a jar cannot be had or has other bytes.
    """
    repository = cache_folder() / "jars"
    repository.mkdir(parents=True, exist_ok=True)
    jars = locked_jars()
    with _alone_in(repository):
        missing = [jar for jar in jars if not jar.is_intact_in(repository)]
        if missing:
            _fetch_all(missing, repository, say)
    return [jar.path_in(repository) for jar in jars]


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_all(missing: list[Jar], repository: Path, say: Callable[[str], None]) -> None:
    context = _maven(repository)
    say(f"fetching {len(missing)} jars, only this once")
    fetched_bytes = 0
    pool = ThreadPoolExecutor(_CONNECTIONS)
    try:
        fetches = [pool.submit(_fetch, jar, repository, context) for jar in missing]
        for count, fetch in enumerate(as_completed(fetches), start=1):
            fetched_bytes += fetch.result()
            say(f"fetched {count} of {len(missing)} jars, {fetched_bytes / 1e6:.0f} MB")
    finally:
        pool.shutdown(cancel_futures=True)


def _maven(repository: Path) -> Any:  # noqa: ANN401  # jgo is imported only where something is missing
    try:
        with warnings.catch_warnings(action="ignore"):  # it looks for folders that it then does not need
            from jgo.maven import MavenContext  # noqa: PLC0415
    except ImportError as error:
        raise PartsError("Kafka's jars are fetched with jgo: pip install 'ledger-worker[parts]'") from error
    return MavenContext(repo_cache=repository, timeout=_TIMEOUT_S)


def _fetch(jar: Jar, repository: Path, context: Any) -> int:  # noqa: ANN401
    """Return the jar's size in bytes once it is there and intact."""
    path = jar.path_in(repository)
    reason: Exception | str = ""
    for _ in range(_TRIES):
        path.unlink(missing_ok=True)
        try:
            component = context.project(jar.group, jar.name).at_version(jar.version)
            component.artifact(classifier=jar.classifier, packaging="jar").resolve()
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
            reason = error
            continue
        if jar.is_intact_in(repository):
            return path.stat().st_size
        reason = "its bytes are not those of the lock"
    path.unlink(missing_ok=True)
    raise PartsError(
        f"{jar.name}-{jar.version}.jar is not in the cache {repository} and could not be fetched "
        f"(the first start needs a network; later ones do not): {_short(reason)}"
    )


def _short(reason: Exception | str) -> str:
    text = str(reason)
    return f"{type(reason).__name__}: {text}"[:200] if isinstance(reason, Exception) else text
