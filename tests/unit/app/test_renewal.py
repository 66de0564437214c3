"""What is read again from files: told to whom it concerns, and never half of it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import structlog

from worker.app.renewal import Renewal
from worker.errors import SettingsError
from worker.observe.logs import SecretMask
from worker.settings import Settings


def read(env: Mapping[str, str]) -> Settings:
    return Settings.from_env(env, needs=frozenset())


class Taken:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def __call__(self, settings: Settings) -> None:
        self.tokens.append(settings.whale_access_token.get_secret_value())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("the-first")
    return path


@pytest.fixture
def env(file: Path) -> dict[str, str]:
    return {"LEDGER_WHALE_ACCESS_TOKEN_FILE": str(file)}


def put(path: Path, text: str) -> None:
    path.write_text(text)


def gone(path: Path) -> None:
    path.unlink()


async def test_what_has_changed_is_told_once_to_its_part_alone_and_masked(env: dict[str, str], file: Path) -> None:
    mask, whale, kafka = SecretMask(()), Taken(), Taken()
    renewal = Renewal(read(env), lambda: read(env), mask, structlog.get_logger())
    renewal.tell("whale", whale)
    renewal.tell("kafka", kafka)
    await renewal.look()
    put(file, "the-second")
    await renewal.look()
    await renewal.look()
    assert (whale.tokens, kafka.tokens) == (["the-second"], [])
    assert "the-second" not in mask.mask_text("with the-second")


async def test_a_file_that_cannot_be_read_changes_nothing_and_is_looked_at_again(
    env: dict[str, str], file: Path
) -> None:
    whale = Taken()
    renewal = Renewal(read(env), lambda: read(env), SecretMask(()), structlog.get_logger())
    renewal.tell("whale", whale)
    gone(file)
    await renewal.look()
    put(file, "the-second")
    await renewal.look()
    assert whale.tokens == ["the-second"]


async def test_what_cannot_be_used_is_offered_again(env: dict[str, str], file: Path) -> None:
    offered = Taken()

    def refuse_once(settings: Settings) -> None:
        offered(settings)
        if len(offered.tokens) == 1:
            raise SettingsError("not usable yet")

    renewal = Renewal(read(env), lambda: read(env), SecretMask(()), structlog.get_logger())
    renewal.tell("whale", refuse_once)
    put(file, "the-second")
    for _ in range(3):
        await renewal.look()
    assert offered.tokens == ["the-second", "the-second"]


async def test_another_certificate_is_told_to_kafka(tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    put(authority, "one")
    env = {"LEDGER_KAFKA_SECURITY_PROTOCOL": "SSL", "LEDGER_KAFKA_SSL_CAFILE": str(authority)}
    kafka, whale = Taken(), Taken()
    renewal = Renewal(read(env), lambda: read(env), SecretMask(()), structlog.get_logger())
    renewal.tell("kafka", kafka)
    renewal.tell("whale", whale)
    await renewal.look()
    put(authority, "another")
    for _ in range(2):
        await renewal.look()
    assert (len(kafka.tokens), len(whale.tokens)) == (1, 0)
