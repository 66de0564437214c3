import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from worker.errors import SettingsError
from worker.ledger.addresses import Proxy, mask_url, read_proxy
from worker.ledger.secret import Secret
from worker.settings import ALL_NEEDS, Settings, required, unknown_variables, variable
from worker.whale.sign import Credentials

COMPLETE = {
    "LEDGER_KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092,kafka-2:9092",
    "LEDGER_DATABASE_URL": "postgresql://ledger:hunter2%40home@db:5432/ledger",
    "LEDGER_WHALE_BASE_URL": "https://brokerage.example/",
    "LEDGER_WHALE_APP_KEY": "the-key",
    "LEDGER_WHALE_APP_SECRET": "the-app-secret",
    "LEDGER_WHALE_ACCESS_TOKEN": "the-access-token",
}
PROXY = "http://desk:pr0xy%2Fpass@proxy:3128"
SECRETS = ("pr0xy", "hunter2", "the-app-secret", "the-access-token", "the-sasl-password")


def read(**changes: str) -> Settings:
    return Settings.from_env(COMPLETE | {f"LEDGER_{name}": value for name, value in changes.items()})


def refusal(**changes: str) -> str:
    with pytest.raises(SettingsError) as caught:
        read(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_those_of_the_contract() -> None:
    settings = Settings.from_env(COMPLETE)
    assert settings.kafka_group_id == "ledger-worker"
    assert settings.kafka_security_protocol == "PLAINTEXT"
    assert (settings.whale_timeout_s, settings.whale_rate_per_s, settings.whale_in_flight_max) == (10, 200, 64)
    assert (settings.drain_s, settings.lane_lease_s, settings.whale_key_life_s, settings.late_apply_s) == (
        30,
        30,
        600,
        120,
    )
    assert settings.open_doubts_max is None
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 9464)
    assert (settings.whale_temp_route, settings.whale_api_version, settings.whale_withdraw_ids) == (
        "risk_event",
        "v1",
        "query",
    )
    assert (settings.sweep_grace_s, settings.in_doubt_notice_s, settings.refusals_in_row_max) == (120, 5, 1000)
    assert (settings.expires_ahead_min_s, settings.expires_ahead_max_s) == (10, 30 * 24 * 3600)
    assert settings.command_topics == (
        "ledger.commands.adjustments.v1",
        "ledger.commands.freezes.v1",
        "ledger.commands.orders.v1",
    )
    assert (settings.topic_outcomes, settings.topic_dead_letters, settings.topic_audit) == (
        "ledger.outcomes.v1",
        "ledger.dead-letters.v1",
        "ledger.audit.v1",
    )
    assert not settings.accepted_notice
    assert not settings.whale_allow_http
    assert settings.actor


def test_one_line_names_every_missing_setting() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"LEDGER_HTTP_PORT": "nine"})
    line = str(caught.value)
    assert "\n" not in line
    assert all(variable(name) in line for name in required())
    assert "LEDGER_HTTP_PORT" in line


@pytest.mark.parametrize("need", sorted({*ALL_NEEDS, "signing"}))
def test_a_command_demands_only_what_it_needs(need: str) -> None:
    given = {variable(name): COMPLETE[variable(name)] for name, parts in required().items() if need in parts}
    Settings.from_env(given, needs=[need])
    with pytest.raises(SettingsError):
        Settings.from_env({}, needs=[need])
    assert Settings.from_env({}, needs=()).database_url.get_secret_value() == ""


def test_a_value_is_read_from_a_file_without_its_newline(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(" s3cret \n\n")
    assert read(WHALE_APP_SECRET="", WHALE_APP_SECRET_FILE=str(file)).whale_app_secret.get_secret_value() == (
        " s3cret \n"
    )


def test_a_value_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("x")
    line = refusal(WHALE_APP_SECRET_FILE=str(file))
    assert "LEDGER_WHALE_APP_SECRET and LEDGER_WHALE_APP_SECRET_FILE" in line


def test_a_file_that_is_not_there_is_named() -> None:
    line = refusal(KAFKA_GROUP_ID_FILE="/no/such/file")
    assert "LEDGER_KAFKA_GROUP_ID_FILE names /no/such/file, which cannot be read" in line


@pytest.mark.parametrize(
    "name", ["WHALE_APP_SECRET", "WHALE_ACCESS_TOKEN", "WHALE_PROXY", "KAFKA_SASL_PASSWORD", "DATABASE_URL"]
)
def test_a_secret_that_is_given_where_its_file_belongs_is_not_told(name: str) -> None:
    line = refusal(**{name: "", f"{name}_FILE": "hunter2"})
    assert f"LEDGER_{name}_FILE names a file which cannot be read" in line
    assert "hunter2" not in line


@pytest.mark.parametrize("newline", ["", "\n", "\r\n"])
@pytest.mark.parametrize("name", [name.removeprefix("LEDGER_") for name in COMPLETE])
def test_an_empty_file_and_an_empty_variable_are_missing(name: str, newline: str, tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.write_bytes(newline.encode())
    assert refusal(**{name: "", f"{name}_FILE": str(file)}) == f"missing: LEDGER_{name} (its file is empty)"
    assert refusal(**{name: ""}) == f"missing: LEDGER_{name}"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ledger:hunter2/db",
        "postgresql://hunter2:/db",
        "postgresql://u:p@h:hunter2/db",
        "postgresql://u:hunter2@h1:1,h2:2/db",
        "postgresql://u:hunter2@h1,h2/db",
        "postgresql://u:hunter2@h:65536/db",
        "postgresql://u:hunter2@h:0/db",
        "postgresql://u:hunter2@::1/db",
    ],
)
def test_a_database_url_names_one_host_and_no_password_passes_for_a_port(url: str) -> None:
    line = refusal(DATABASE_URL=url)
    assert line.startswith("LEDGER_DATABASE_URL is not of the form")
    assert "hunter2" not in line


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@h:5432/db",
        "postgresql://u@[::1]:5432/db",
        "postgresql://u@[fe80::1%eth0]/db",
        "postgresql://u:p@%2Frun%2Fpg/db",
        "postgresql:///db?host=/run",
        "postgresql://h",
    ],
)
def test_a_database_is_named_by_host_address_or_socket(url: str) -> None:
    assert read(DATABASE_URL=url).database_url.get_secret_value() == url


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_of_kafka_is_one_that_can_be(port: str) -> None:
    assert "LEDGER_KAFKA_BOOTSTRAP_SERVERS" in refusal(KAFKA_BOOTSTRAP_SERVERS=f"h:9092,127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"LANE_LEASE_S": "21.9"}, "LEDGER_LANE_LEASE_S"),
        ({"WHALE_TIMEOUT_S": "14.1"}, "LEDGER_WHALE_TIMEOUT_S"),
        ({"WHALE_BASE_URL": "http://brokerage.example"}, "LEDGER_WHALE_ALLOW_HTTP"),
        ({"WHALE_BASE_URL": "http://localhost.evil.example"}, "LEDGER_WHALE_ALLOW_HTTP"),
        ({"WHALE_BASE_URL": "http://localhost", "WHALE_PROXY": PROXY}, "LEDGER_WHALE_ALLOW_HTTP"),
        ({"WHALE_BASE_URL": "brokerage.example"}, "LEDGER_WHALE_BASE_URL"),
        ({"WHALE_BASE_URL": "https://brokerage.example/api"}, "LEDGER_WHALE_BASE_URL"),
        ({"WHALE_BASE_URL": "https://u:p@brokerage.example"}, "LEDGER_WHALE_BASE_URL"),
        ({"WHALE_BASE_URL": "https://brokerage.example:port"}, "LEDGER_WHALE_BASE_URL"),
        ({"DATABASE_URL": "mysql://u:hunter2@db/x"}, "LEDGER_DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://u:hunt/er2@db/x"}, "LEDGER_DATABASE_URL"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "kafka"}, "LEDGER_KAFKA_BOOTSTRAP_SERVERS"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "LEDGER_KAFKA_SASL_USERNAME"),
        ({"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "u"}, "LEDGER_KAFKA_SASL_PASSWORD"),
        ({"KAFKA_SASL_PASSWORD": "the-sasl-password"}, "LEDGER_KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_SSL_CAFILE": "/etc/hosts"}, "LEDGER_KAFKA_SECURITY_PROTOCOL"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": "/no/such/file"}, "LEDGER_KAFKA_SSL_CAFILE"),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEYFILE": "/etc/hosts"}, "LEDGER_KAFKA_SSL_CERTFILE"),
        ({"TOPIC_AUDIT": "ledger.outcomes.v1"}, "LEDGER_TOPIC_OUTCOMES and LEDGER_TOPIC_AUDIT"),
        ({"TOPIC_AUDIT": "not a topic"}, "LEDGER_TOPIC_AUDIT"),
        ({"WHALE_TIMEOUT_S": "0"}, "LEDGER_WHALE_TIMEOUT_S"),
        ({"WHALE_TIMEOUT_S": "nan"}, "LEDGER_WHALE_TIMEOUT_S"),
        ({"WHALE_RATE_PER_S": "-1"}, "LEDGER_WHALE_RATE_PER_S"),
        ({"LATE_APPLY_S": "-0.1"}, "LEDGER_LATE_APPLY_S"),
        ({"EXPIRES_AHEAD_MIN_S": "11", "EXPIRES_AHEAD_MAX_S": "10"}, "LEDGER_EXPIRES_AHEAD_MAX_S"),
        ({"RETENTION_COMMANDS_DAYS": "1"}, "LEDGER_RETENTION_COMMANDS_DAYS"),
        ({"PRUNE_EVERY_H": "24"}, "LEDGER_PRUNE_EVERY_H"),
        ({"WHALE_WITHDRAW_IDS": "path"}, "LEDGER_WHALE_WITHDRAW_IDS"),
        ({"ACCEPTED_NOTICE": "perhaps"}, "LEDGER_ACCEPTED_NOTICE"),
        ({"LOG_FORMAT": "xml"}, "LEDGER_LOG_FORMAT"),
    ],
)
def test_a_contradiction_is_named_and_shows_no_secret(changes: dict[str, str], named: str) -> None:
    line = refusal(**changes)
    assert named in line
    assert not any(secret in line for secret in SECRETS)


@pytest.mark.parametrize(
    "url",
    [
        "https://desk:pr0xy@proxy:3128",
        "socks5://desk:pr0xy@proxy:3128",
        "desk:pr0xy@proxy:3128",
        "http://desk:pr0xy@proxy",
        "http://pr0xy@proxy:3128",
        "http://desk:pr0xy@proxy:0",
        "http://desk:pr0xy@proxy:65536",
        "http://desk:pr0/xy@proxy:3128",
        "http://desk:pr0xy@proxy:3128/path",
        "http://de%3Ask:pr0xy@proxy:3128",
        "http://desk:pr0xy@[proxy]:3128",
        "http://desk:pr0xy@pr%0d%0aoxy:3128",
    ],
)
def test_a_proxy_is_named_by_host_and_port_and_what_names_none_is_not_told(url: str) -> None:
    line = refusal(WHALE_PROXY=url)
    assert line.startswith("LEDGER_WHALE_PROXY is not of the form http://[user:password@]host:port")
    assert not any(part in line for part in ("pr0", "xy@"))


def test_a_proxy_has_a_login_or_none_and_may_be_an_address() -> None:
    assert read().whale_proxy is None
    proxy = read_proxy(PROXY)
    assert (proxy.address, proxy.login) == ("proxy:3128", Secret("desk:pr0xy/pass"))
    assert read_proxy("http://[::1]:3128/") == Proxy("::1", 3128, None)
    assert read_proxy("http://[::1]:3128").address == "[::1]:3128"
    assert "pr0xy" not in repr(proxy)


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.9:1", "http://[::1]:1"])
def test_loopback_may_be_spoken_to_without_tls(url: str) -> None:
    assert read(WHALE_BASE_URL=url).whale_base_url == url
    assert read(WHALE_BASE_URL=url, WHALE_PROXY="http://[::1]:3128").whale_base_url == url


def test_a_free_port_may_be_asked_for_and_codes_are_a_set() -> None:
    settings = read(HTTP_PORT="0", WHALE_FINAL_CODES="A1, B2,", OPEN_DOUBTS_MAX="none", WHALE_BASE_URL="https://b/")
    assert settings.http_port == 0
    assert settings.whale_final_codes == {"A1", "B2"}
    assert settings.open_doubts_max is None
    assert settings.whale_base_url == "https://b"


def test_no_form_of_the_settings_shows_a_secret() -> None:
    settings = read(
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_SASL_USERNAME="u",
        KAFKA_SASL_PASSWORD="the-sasl-password",
        WHALE_PROXY=PROXY,
    )
    for text in (repr(settings), str(settings), settings.model_dump_json(), settings.database_url_masked):
        assert not any(secret in text for secret in SECRETS)
    passwords = {"hunter2%40home", "hunter2@home", "pr0xy%2Fpass", "pr0xy/pass"}
    assert set(SECRETS) - {"hunter2", "pr0xy"} | passwords <= settings.secret_values()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_secret_is_pickled(protocol: int) -> None:
    settings = read()
    credentials = Credentials("the-key", settings.whale_app_secret.get_secret_value(), "the-access-token")
    secrets = (settings.whale_app_secret, settings.whale_access_token, settings.database_url)
    for one in (settings, credentials, *secrets, {"nested": [settings]}):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(one, protocol)


def test_passwords_are_masked_wherever_a_database_url_carries_them() -> None:
    assert mask_url("postgresql://u:one@a,b:2/db?sslmode=x&password=two&sslpassword=three") == (
        "postgresql://u:******@a,b:2/db?sslmode=x&password=******&sslpassword=******"
    )
    assert mask_url("postgresql://h?password=one") == "postgresql://h?password=******"
    assert mask_url("postgresql:///db?host=/run") == "postgresql:///db?host=/run"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.from_env(COMPLETE).actor = "someone else"  # type: ignore[misc]


def test_a_typing_error_is_named_and_what_others_read_is_not() -> None:
    environ = {
        "LEDGER_WHALE_TIMOUT_S": "1",
        "LEDGER_TEST_KAFKA": "x",
        "LEDGER_PARTS_DIR": "x",
        "LEDGER_ACTOR": "x",
        "LEDGER_DATABASE_URL_FILE": "x",
        "HOME": "/",
    }
    assert unknown_variables(environ) == ["LEDGER_WHALE_TIMOUT_S"]


def test_the_page_about_settings_is_current() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "worker", "settings", "show", "--output", "markdown"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin"},
    ).stdout
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    assert printed in page, "put the table of `ledger-worker settings show --output markdown` into docs/settings.md"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "worker.example"])  # noqa: S104 - what is refused
def test_stories_beyond_loopback_need_a_token(host: str) -> None:
    assert "LEDGER_HTTP_TOKEN" in refusal(HTTP_EXPLAIN="true", HTTP_HOST=host)
    read(HTTP_EXPLAIN="true", HTTP_HOST=host, HTTP_TOKEN="a-token")
    read(HTTP_HOST=host)
    for loopback in ("127.0.0.1", "::1", "localhost"):
        read(HTTP_EXPLAIN="true", HTTP_HOST=loopback)


def test_stories_are_off_unless_asked_for_and_their_token_is_a_secret() -> None:
    assert not read().http_explain
    assert "a-token" in read(HTTP_TOKEN="a-token").secret_values()


@pytest.mark.parametrize("actor", ["ann\n", "\x1b[2Jann", "  ", "a" * 129])
def test_an_actor_is_a_name_that_can_be_shown(actor: str) -> None:
    with pytest.raises(SettingsError, match="LEDGER_ACTOR"):
        Settings.from_env({**COMPLETE, "LEDGER_ACTOR": actor})
    assert Settings.from_env({**COMPLETE, "LEDGER_ACTOR": "Ännchen (night shift)"}).actor == "Ännchen (night shift)"
