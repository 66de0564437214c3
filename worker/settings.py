"""Every setting: its name, default, meaning, and what must hold between them.

The model is the one list; `settings show` and `docs/settings.md` are made from it. A value comes from the variable
`LEDGER_<NAME>` or from the file that `LEDGER_<NAME>_FILE` names; an empty one counts as not given.
"""

import os
import pwd
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from worker.errors import SettingsError
from worker.ledger.addresses import (
    check_database_url,
    checked_base_url,
    checked_servers,
    crosses_the_network_bare,
    is_loopback,
    mask_url,
    read_proxy,
    url_passwords,
)
from worker.ledger.limits import checked_limits
from worker.ledger.retention import DAYS_MIN
from worker.ledger.secret import Secret

PREFIX = "LEDGER_"
FOREIGN_PREFIXES = ("LEDGER_TEST_", "LEDGER_PARTS_")
LEASE_MARGIN_S = 2.0
DAY_S = 86_400.0
_UNKEPT = re.compile("[\x00\ud800-\udfff]")  # what neither Postgres nor any wire takes as text
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

Need = Literal["kafka", "database", "whale", "signing"]  # signing: only the keys of whale
ALL_NEEDS: frozenset[Need] = frozenset({"kafka", "database", "whale"})


@dataclass(frozen=True, slots=True)
class RequiredFor:
    """Marks a setting without a default: what needs one of these parts cannot start without it."""

    needs: tuple[Need, ...]


def _secret_url(check: Callable[[str], object]) -> AfterValidator:
    def checked(secret: Secret | None) -> Secret | None:
        check(secret.get_secret_value()) if secret else None
        return secret

    return AfterValidator(checked)


def _split(value: object) -> object:
    return frozenset(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


def _none_word(value: object) -> object:
    return None if value == "none" else value


def _actor(text: str) -> str:
    if not text.strip() or _UNSHOWN.search(text):
        raise ValueError("is blank or holds control characters")
    return text


Servers = Annotated[str, AfterValidator(checked_servers)]
BaseUrl = Annotated[str, AfterValidator(checked_base_url)]
DatabaseUrl = Annotated[Secret, _secret_url(check_database_url)]
ProxyUrl = Annotated[Secret | None, _secret_url(read_proxy)]
LimitsText = Annotated[str, AfterValidator(checked_limits)]
Codes = Annotated[frozenset[str], BeforeValidator(_split)]
Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
DaysOrNone = Annotated[Annotated[int, Field(ge=DAYS_MIN, le=36_500)] | None, BeforeValidator(_none_word)]
HoursOrNone = Annotated[Annotated[float, Field(ge=1, le=8760)] | None, BeforeValidator(_none_word)]
CountOrNone = Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(_none_word)]


def _system_user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may run under a number that has no name
        return f"uid-{os.geteuid()}"


class Settings(BaseModel):
    """All settings, checked and frozen; secrets are `Secret` and masked wherever they are shown.

    A setting without a default is empty when the command that runs does not need its part.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kafka_bootstrap_servers: Annotated[Servers, RequiredFor(("kafka",))] = Field(
        "", description="Kafka, as host:port,…"
    )
    kafka_group_id: str = Field("ledger-worker", min_length=1, description="consumer group")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to speak to Kafka: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; read only with a SASL protocol"
    )
    kafka_sasl_username: str | None = Field(None, description="user; needed by a SASL protocol")
    kafka_sasl_password: Secret | None = Field(None, description="password; needed by a SASL protocol")
    kafka_ssl_cafile: str | None = Field(None, description="file of the authorities to trust; else the system's")
    kafka_ssl_certfile: str | None = Field(None, description="file of the client's certificate")
    kafka_ssl_keyfile: str | None = Field(None, description="file of the client's key")

    database_url: Annotated[DatabaseUrl, RequiredFor(("database",))] = Field(
        Secret(""), description="postgresql://user:password@host:port/name"
    )

    whale_base_url: Annotated[BaseUrl, RequiredFor(("whale",))] = Field("", description="brokerage API, https://host")
    whale_app_key: Annotated[str, RequiredFor(("whale", "signing"))] = Field(
        "", description="key id of the request signature"
    )
    whale_app_secret: Annotated[Secret, RequiredFor(("whale", "signing"))] = Field(
        Secret(""), description="secret that signs requests; never sent"
    )
    whale_access_token: Annotated[Secret, RequiredFor(("whale", "signing"))] = Field(
        Secret(""), description="access token, sent with each request"
    )
    whale_timeout_s: Positive = Field(10.0, description="whole-call deadline")
    whale_rate_per_s: Positive = Field(200.0, description="calls per second for the whole fleet")
    whale_in_flight_max: Count = Field(64, description="concurrent calls of one process")
    whale_key_life_s: NotNegative = Field(
        600.0, description="how long the brokerage is trusted to remember a request_id"
    )
    whale_allow_http: bool = Field(default=False, description="allow http:// to another host than loopback")
    whale_proxy: ProxyUrl = Field(None, description="proxy to the brokerage, http://[user:password@]host:port")
    whale_temp_route: Literal["risk_event", "whaleapi"] = Field(
        "risk_event", description="which documented route makes a temporary adjustment: risk_event or whaleapi"
    )
    whale_api_version: Literal["v1", "v2"] = Field("v1", description="which documented API version: v1 or v2")
    whale_withdraw_ids: Literal["query", "body"] = Field(
        "query", description="where Withdraw Order carries its ids: query or body"
    )
    whale_final_codes: Codes = Field(
        frozenset(), description="further codes that are final refusals, separated by commas"
    )

    topic_adjustments: Topic = Field("ledger.commands.adjustments.v1", description="commands that adjust")
    topic_freezes: Topic = Field("ledger.commands.freezes.v1", description="commands that freeze money")
    topic_orders: Topic = Field("ledger.commands.orders.v1", description="commands for orders")
    topic_outcomes: Topic = Field("ledger.outcomes.v1", description="outcomes")
    topic_dead_letters: Topic = Field("ledger.dead-letters.v1", description="dead letters")
    topic_audit: Topic = Field("ledger.audit.v1", description="what operators did")

    drain_s: NotNegative = Field(30.0, description="SIGTERM ends the worker within this time")
    lane_lease_s: Positive = Field(
        30.0,
        description="how long a dead worker's accounts stay taken; at least twice the whole-call deadline plus 2 s",
    )
    late_apply_s: NotNegative = Field(
        120.0, description="how long after its last byte may have left a call may still take effect"
    )
    open_doubts_max: CountOrNone = Field(
        None, description="above so many open doubts new writes of that operation wait until a person resumes; or none"
    )
    limits: LimitsText | None = Field(
        None, description="the most per command, and per account and day, of each operation, as JSON: see below"
    )
    sweep_grace_s: NotNegative = Field(
        120.0, description="how long after its hour the brokerage may take to end a temporary adjustment by itself"
    )
    in_doubt_notice_s: NotNegative = Field(5.0, description="a doubt that lasts longer is told in an outcome")
    refusals_in_row_max: Count = Field(
        1000, description="so many bad records in a row stop the intake of their partition"
    )
    queue_depth_max: Count = Field(10_000_000, description="intake reads no more while so many commands wait")
    expires_ahead_min_s: NotNegative = Field(10.0, description="expires_at lies at least so far ahead at the call")
    expires_ahead_max_s: Positive = Field(30 * DAY_S, description="expires_at lies at most so far ahead at the call")
    accepted_notice: bool = Field(default=False, description="publish command.accepted, too")

    retention_attempt_bodies_days: DaysOrNone = Field(
        None, description="days until `prune` redacts requests and answers of finished commands; or none"
    )
    retention_record_bodies_days: DaysOrNone = Field(
        None, description="days until `prune` redacts records that became finished commands; or none"
    )
    retention_dead_letter_bodies_days: DaysOrNone = Field(
        None, description="days until `prune` redacts dead letters that were seen, ignored or redriven; or none"
    )
    retention_attempts_days: DaysOrNone = Field(
        None, description="days until `prune` deletes calls, looks and evidence of finished commands; or none"
    )
    retention_outcomes_days: DaysOrNone = Field(
        None, description="days until `prune` deletes outcomes that were published; or none"
    )
    retention_commands_days: DaysOrNone = Field(
        None, description="days until `prune` deletes finished commands; identity, hash and verdict stay; or none"
    )
    retention_dead_letters_days: DaysOrNone = Field(
        None, description="days until `prune` deletes dead letters that were seen, ignored or redriven; or none"
    )
    retention_new_dead_letters_days: DaysOrNone = Field(
        None, description="days until `prune` deletes dead letters that nobody has looked at; or none"
    )
    retention_replays_days: DaysOrNone = Field(
        None, description="days until `prune` deletes plans and runs of replays and redrives that ended; or none"
    )
    prune_rate_per_s: Positive = Field(1000.0, description="at most so many rows a second are redacted or deleted")
    prune_every_h: HoursOrNone = Field(
        None, description="a worker with the role timers prunes by itself every so many hours; or none"
    )

    http_host: str = Field("127.0.0.1", min_length=1, description="where /livez, /readyz and /metrics listen")
    http_port: int = Field(9464, ge=0, le=65535, description="their port; 0 takes any free one")
    http_explain: bool = Field(
        default=False, description="also answer /commands/ID and /accounts/NO there, as `explain --output json` does"
    )
    http_token: Secret | None = Field(None, description="the token that those two ask for; needed beyond loopback")
    actor: Annotated[str, AfterValidator(_actor)] = Field(
        default_factory=_system_user,
        max_length=128,
        description="who an operator command acts for; the system's user when not given",
    )
    log_format: Literal["console", "json"] | None = Field(
        None, description="console or json; when not given console on a terminal, else json"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="how much is logged: debug, info, warning or error; SIGUSR1 and SIGUSR2 change it at run time",
    )
    traces: bool = Field(default=False, description="export traces, to where OpenTelemetry's own variables say")

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, needs: Collection[Need] | None = None) -> Self:
        """Read and check the settings; `needs` names the parts whose settings must be there, all by default.

        Reads the files that `LEDGER_*_FILE` name. Raises SettingsError with one line that names everything wrong.
        """
        values, unread = _read(environ, cls.model_fields)
        problems = list(unread.values())
        missing = _missing(values.keys() | unread.keys(), ALL_NEEDS if needs is None else needs)
        if missing:
            empty = {name for name in missing if environ.get(f"{name}_FILE")}
            told = ", ".join(f"{name} (its file is empty)" if name in empty else name for name in missing)
            problems.insert(0, f"missing: {told}")
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            problems += [_sentence(dict(problem)) for problem in error.errors(include_url=False)]
            raise SettingsError("; ".join(problems)) from None
        problems += [clause for clause, holds in _relations(settings) if not holds]
        if problems:
            raise SettingsError("; ".join(problems))
        return settings

    @property
    def command_topics(self) -> tuple[str, str, str]:
        """The three topics that the worker reads: adjustments, freezes, orders."""
        return self.topic_adjustments, self.topic_freezes, self.topic_orders

    @property
    def database_url_masked(self) -> str:
        """The database's URL with its password replaced."""
        return mask_url(self.database_url.get_secret_value())

    def secret_values(self) -> frozenset[str]:
        """Return every secret in plain text, for what masks them in logs; the database's password in both spellings."""
        secrets = {_plain(getattr(self, name)) for name in type(self).model_fields if is_secret(name)}
        passwords = url_passwords(_plain(self.database_url)) | url_passwords(_plain(self.whale_proxy))
        return frozenset(filter(None, {*secrets, *passwords, *map(unquote, passwords)}))


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + name.upper()


def required() -> dict[str, tuple[Need, ...]]:
    """Return the settings without a default, each with the parts that need it, the widest first."""
    return {
        name: mark.needs
        for name, field in Settings.model_fields.items()
        for mark in field.metadata
        if isinstance(mark, RequiredFor)
    }


def is_secret(name: str) -> bool:
    """Say whether a setting's value must never be shown."""
    return Settings.model_fields[name].annotation in {Secret, Secret | None}


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the LEDGER_ variables that mean nothing here, most likely typing errors."""
    known = {variable(name) + suffix for name in Settings.model_fields for suffix in ("", "_FILE")}
    return sorted(
        name
        for name in environ
        if name.startswith(PREFIX) and not name.startswith(FOREIGN_PREFIXES) and name not in known
    )


def _missing(given: Collection[str], needs: Collection[Need]) -> list[str]:
    """Return the variables that the parts named need and that are not given, in the order of the list."""
    return [variable(name) for name, parts in required().items() if set(parts) & set(needs) and name not in given]


def _plain(value: object) -> str:
    if isinstance(value, Secret):
        return value.get_secret_value()
    return "" if value is None else str(value)


def _read(environ: Mapping[str, str], names: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the values given, by setting, and a clause for each that could not be read; an empty value is not given."""
    values: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name in names:
        direct, path = environ.get(variable(name), ""), environ.get(f"{variable(name)}_FILE", "")
        if direct and path:
            problems[name] = f"{variable(name)} and {variable(name)}_FILE are both given; give one"
        elif path:
            try:
                direct = Path(path).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
            except (OSError, ValueError) as error:  # ValueError: bytes that are no text, or a path that can be none
                reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
                # what is given as the path of a secret may be the secret itself
                shown = "a file" if is_secret(name) else _UNSHOWN.sub("\ufffd", path) + ","
                problems[name] = f"{variable(name)}_FILE names {shown} which cannot be read ({reason})"
        if _UNKEPT.search(direct):
            problems.setdefault(name, f"{variable(name)} holds a NUL or is not UTF-8")
        elif direct:
            values[name] = direct
    return values, problems


def _sentence(problem: dict[str, Any]) -> str:
    """Name the variable and what is wrong with it; never the value, which may be a secret in the wrong place."""
    name = variable(str(problem["loc"][0]))
    if problem["type"] == "value_error":
        return f"{name} {problem['ctx']['error']}"
    text = str(problem["msg"])
    return f"{name}: {text[0].lower()}{text[1:]}"


def _relations(settings: Settings) -> list[tuple[str, bool]]:
    """Each relation as the sentence that is said when it does not hold."""
    timeout_s, lease_s = settings.whale_timeout_s, settings.lane_lease_s
    lease_min_s = 2 * timeout_s + LEASE_MARGIN_S
    bare = crosses_the_network_bare(settings.whale_base_url, _plain(settings.whale_proxy))
    topics = {name: getattr(settings, name) for name in Settings.model_fields if name.startswith("topic_")}
    twice = [variable(name) for name, topic in topics.items() if list(topics.values()).count(topic) > 1]
    ahead_holds = settings.expires_ahead_min_s <= settings.expires_ahead_max_s
    lease = f"LEDGER_LANE_LEASE_S is {lease_s:g}, but with LEDGER_WHALE_TIMEOUT_S {timeout_s:g} at least {lease_min_s:g} is needed (twice plus {LEASE_MARGIN_S:g})"
    http = "LEDGER_WHALE_BASE_URL is http:// to another host than loopback, or by way of one: use https://, or set LEDGER_WHALE_ALLOW_HTTP=true"
    ages = [name for name in Settings.model_fields if name.startswith("retention_")]
    prunes = settings.prune_every_h is None or any(getattr(settings, name) is not None for name in ages)
    explain = f"LEDGER_HTTP_EXPLAIN is true and LEDGER_HTTP_HOST {settings.http_host} is beyond loopback: set LEDGER_HTTP_TOKEN"
    return [
        (lease, lease_s >= lease_min_s),
        (http, settings.whale_allow_http or not bare),
        (explain, not settings.http_explain or is_loopback(settings.http_host) or bool(settings.http_token)),
        ("LEDGER_EXPIRES_AHEAD_MIN_S is above LEDGER_EXPIRES_AHEAD_MAX_S", ahead_holds),
        (f"{' and '.join(twice)} name the same topic", not twice),
        ("LEDGER_PRUNE_EVERY_H is given, but no LEDGER_RETENTION_ setting: nothing would be pruned", prunes),
        *_kafka_relations(settings),
    ]


def _kafka_relations(settings: Settings) -> list[tuple[str, bool]]:
    sasl = settings.kafka_security_protocol.startswith("SASL")
    tls = settings.kafka_security_protocol.endswith("SSL")
    credentials = settings.kafka_sasl_username, _plain(settings.kafka_sasl_password)
    files = {name: getattr(settings, name) for name in Settings.model_fields if name.startswith("kafka_ssl_")}
    key_alone = settings.kafka_ssl_keyfile and not settings.kafka_ssl_certfile
    protocol = f"LEDGER_KAFKA_SECURITY_PROTOCOL is {settings.kafka_security_protocol}"
    user = "LEDGER_KAFKA_SASL_USERNAME and LEDGER_KAFKA_SASL_PASSWORD"
    return [
        (f"{protocol}, which needs {user}", not sasl or all(credentials)),
        (f"{protocol}, which does not read {user}, but one is given", sasl or not any(credentials)),
        (
            f"{protocol}, which does not read the LEDGER_KAFKA_SSL_ files, but one is given",
            tls or not any(files.values()),
        ),
        ("LEDGER_KAFKA_SSL_KEYFILE is given without LEDGER_KAFKA_SSL_CERTFILE", not key_alone),
        *((f"{variable(name)} names no file", not path or _is_file(path)) for name, path in files.items()),
    ]


def _is_file(path: str) -> bool:
    try:
        return Path(path).is_file()
    except OSError:  # in a folder that we may not enter, or a name that is too long
        return False
