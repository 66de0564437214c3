"""Secrets that come from files are read again while the worker runs: who replaces one there restarts nobody.

The next call to the brokerage and the next connection to Postgres use what is new; to Kafka connections are made anew.
A file that is empty, half written or gone changes nothing: what was read last stays, and a later look finds what was meant.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from worker.errors import SettingsError
from worker.observe.logs import SecretMask
from worker.settings import Need, Settings

EVERY_S = 1.0
RENEWED: dict[str, Need] = {
    "whale_app_key": "whale",
    "whale_app_secret": "whale",
    "whale_access_token": "whale",
    "kafka_sasl_username": "kafka",
    "kafka_sasl_password": "kafka",
    "database_url": "database",
}
FILES = ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile")

Take = Callable[[Settings], None]
"""Uses the secrets of these settings from now on; SettingsError where they cannot be used: the old ones stay."""


class Renewal:
    """Looks once a second at what the settings' files hold now."""

    def __init__(
        self, settings: Settings, read: Callable[[], Settings], mask: SecretMask, log: FilteringBoundLogger
    ) -> None:
        self._settings, self._read, self._mask, self._log = settings, read, mask, log
        self._files = _contents(settings)
        self._takers: list[tuple[Need, Take]] = []
        self._complained = ""

    def tell(self, part: Need, take: Take) -> None:
        """Call this with the settings whenever a secret of that part has changed."""
        self._takers.append((part, take))

    async def look(self) -> float:
        """Look once; returns the seconds until the next look."""
        try:
            found, files = await asyncio.to_thread(self._find)
            changed = [name for name in RENEWED if getattr(found, name) != getattr(self._settings, name)]
            changed += [name for name, held in files.items() if held != self._files[name]]
            if changed:
                self._renew(found, files, changed)
            self._complained = ""
        except (SettingsError, OSError) as error:
            if self._complained != str(error):
                self._log.warning("secrets.unusable", why=str(error))
            self._complained = str(error)
        return EVERY_S

    def _find(self) -> tuple[Settings, dict[str, bytes]]:
        return self._read(), _contents(self._settings)

    def _renew(self, found: Settings, files: dict[str, bytes], changed: list[str]) -> None:
        settings = self._settings.model_copy(update={name: getattr(found, name) for name in RENEWED})
        self._mask.add(settings.secret_values())  # before anybody can log it
        parts = {RENEWED.get(name, "kafka") for name in changed}
        for part, take in self._takers:
            if part in parts:
                take(settings)
        self._settings, self._files = settings, files
        self._log.info("secrets.renewed", settings=changed)


def _contents(settings: Settings) -> dict[str, bytes]:
    paths = {name: getattr(settings, name) for name in FILES}
    return {name: Path(path).read_bytes() if path else b"" for name, path in paths.items()}
