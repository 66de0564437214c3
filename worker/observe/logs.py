"""Log lines: one event each, named `stage.past_tense`, with ids and never a payload.

`configure` is the one process-wide effect: libraries log through Python's own root logger, so there is no other way
to have their lines in the same form and with the same secrets masked.
"""

import logging
from collections.abc import Collection
from typing import Literal, Protocol, TextIO, cast
from uuid import UUID

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from worker.ledger.addresses import MASK

LogForm = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

SECRET_LENGTH_MIN = 4  # a shorter one would blank out ordinary words
QUIET_LIBRARIES = ("aiokafka", "faststream", "aiohttp.access", "alembic", "asyncio")
TRACE_ID_LENGTH = 32

_ours = logging.getLogger("ledger")  # nobody logs through it: it keeps our level, and tells it quickly


class Named(Protocol):
    """What a line can be about: a command, as any stage carries it."""

    @property
    def command_id(self) -> UUID:
        """The command's id."""

    @property
    def account_no(self) -> str:
        """Its account."""

    @property
    def traceparent(self) -> str | None:
        """What the record carried, if it is one."""


def ids(command: Named) -> dict[str, str | None]:
    """Return what names a command in every line about it."""
    return {
        "command_id": str(command.command_id),
        "account_no": command.account_no,
        "trace_id": trace_id(command.traceparent),
    }


def trace_id(traceparent: str | None) -> str | None:
    """Return the trace of a `traceparent` that was found to be one."""
    return traceparent.split("-")[1] if traceparent else None


def set_level(level: LogLevel) -> None:
    """Say so much from now on. Libraries stay at info or above: below it they would log what they carry."""
    number = _number(level)
    _ours.setLevel(number)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(number))
    _quieten(max(number, logging.INFO))


def is_detailed() -> bool:
    """Say whether a line for each command is wanted; where not, a hot path does not even make it."""
    return _ours.isEnabledFor(logging.DEBUG)


class SecretMask:
    """A structlog processor that replaces every known secret, wherever it stands in a line."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets: list[str] = []
        self.add(secrets)

    def add(self, secrets: Collection[str]) -> None:
        """Mask these, too, from now on."""
        known = {*self._secrets, *(s for s in secrets if len(s) >= SECRET_LENGTH_MIN)}
        # Longest first, so that a secret inside another does not leave the rest of the longer one.
        self._secrets = sorted(known, key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        """Return the same event with masked values; what is not text, a number or a collection becomes text."""
        return {name: value if name.startswith("_") else self.mask(value) for name, value in event.items()}

    def mask(self, value: object) -> object:
        """Return the value with secrets replaced."""
        match value:
            case None | bool() | int() | float():
                return value
            case dict():
                return {self.mask_text(str(name)): self.mask(inner) for name, inner in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self.mask(inner) for inner in value]
            case bytes():
                return self.mask_text(value.decode("utf-8", "backslashreplace"))
            case _:
                return self.mask_text(str(value))

    def mask_text(self, text: str) -> str:
        """Return the text with secrets replaced."""
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return text


def configure(
    form: LogForm | None, secrets: Collection[str] | SecretMask, stream: TextIO, level: int = logging.INFO
) -> FilteringBoundLogger:
    """Send our events and the libraries' to the stream (stderr) and return a logger; may be called again.

    Without a form it is console on a terminal, else JSON. Secrets are masked in both; given as a mask, it may be added to
    later. Lines below the level are dropped.
    """
    _ours.setLevel(level)
    colours = stream.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,  # text without local variables, which may hold secrets
    ]
    mask = secrets if isinstance(secrets, SecretMask) else SecretMask(secrets)
    renderer = _renderer(form or ("console" if colours else "json"), colours=colours)
    structlog.configure(
        processors=[*shared, mask, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    _route_libraries(shared, mask, renderer, stream, level)
    return cast("FilteringBoundLogger", structlog.get_logger())


def _renderer(form: LogForm, *, colours: bool) -> Processor:
    if form == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback)


def _route_libraries(
    shared: list[Processor], mask: SecretMask, renderer: Processor, stream: TextIO, level: int
) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, mask, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    _quieten(max(level, logging.INFO))


def _quieten(level: int) -> None:
    logging.getLogger().setLevel(level)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _number(level: LogLevel) -> int:
    return logging.getLevelNamesMapping()[level.upper()]
