"""What can be said of the container files where no Docker engine is; `make checks` parses them officially and runs their commands."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from sandbox.__main__ import _parser as sandbox_parser
from tests.tidy import containers, tree, typed
from worker.settings import FOREIGN_PREFIXES, Settings, variable

COMPOSE = (tree.CHECKOUT / "docker-compose.yml").read_text()
DOCKERFILE = (tree.CHECKOUT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = containers.compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
BUILD, LAST = containers.stages()
EXAMPLE = dict(line.split("=", 1) for line in (tree.CHECKOUT / ".env.example").read_text().splitlines() if "=" in line)


def test_the_whole_path_is_there_and_each_profile_holds_what_it_is_called() -> None:
    held: dict[str, set[str]] = {}
    for name, service in SERVICES.items():
        for profile in service["profiles"]:
            held.setdefault(profile, set()).add(name)
    path = {"kafka", "postgres", "sandbox", "init"}
    assert held == {
        "core": path | {"worker"},
        "scale": path | {"more-workers"},
        "observability": {"prometheus", "grafana"},
    }
    assert EXAMPLE["COMPOSE_PROFILES"] == "core", "`docker compose up` alone starts the main path"
    assert SERVICES["kafka"]["image"].startswith("apache/kafka:")
    assert SERVICES["postgres"]["image"] == "postgres:18"


def test_a_profile_alone_has_all_that_its_services_wait_for() -> None:
    for name, service in SERVICES.items():
        for other in service.get("depends_on", {}):
            assert set(service["profiles"]) <= set(SERVICES[other]["profiles"]), f"{name} waits for {other}"


def test_everything_that_goes_on_running_has_a_healthcheck() -> None:
    looked_at = {name for name, service in SERVICES.items() if "test" in service.get("healthcheck", {})}
    assert SERVICES.keys() - looked_at == {"init"}
    assert SERVICES["init"]["healthcheck"] == {"disable": True}, "else the image's, which asks a worker"


def test_whoever_waits_waits_for_something_that_exists() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            finished = how["condition"] == "service_completed_successfully"
            assert finished == (name == "init")


def test_secrets_come_from_the_environment_and_are_asked_for() -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    assert set(re.findall(r"\$\{(\w+)", COMPOSE)) == wanted
    assert {name for name, value in EXAMPLE.items() if not value} == wanted
    assert EXAMPLE.keys() - wanted == {"COMPOSE_PROFILES"}
    for line in COMPOSE.splitlines():
        if re.search(r"(PASSWORD|SECRET|TOKEN|KEY)\w*: ", line):
            assert "${" in line, line


def test_the_image_takes_no_secret_and_no_root() -> None:
    assert not re.search(r"^(?:ENV|ARG).*(?:PASSWORD|SECRET|TOKEN|KEY)", DOCKERFILE, re.MULTILINE)
    user = containers.one(LAST, "USER").value
    assert re.fullmatch(r"([1-9]\d*):\1", user), "a number: Kubernetes cannot tell whether a name is root"
    before = [step.word for step in LAST[: LAST.index(containers.one(LAST, "USER"))]]
    assert "ENTRYPOINT" not in before


def test_the_last_stage_takes_the_venv_alone_and_nothing_that_builds() -> None:
    assert [(step.flags, step.value) for step in LAST if step.word in {"COPY", "ADD"}] == [
        (("--from=build",), "/venv /venv")
    ]
    assert "pip uninstall --yes pip" in containers.one(LAST, "RUN").value
    last_of_build = [step.value for step in BUILD if step.word == "RUN"][-1]
    assert "uninstall --yes setuptools" in last_of_build
    assert not re.search(r"apt-get|apk |curl|--editable", DOCKERFILE)
    assert {containers.one(stage, "FROM").value.split()[0] for stage in (BUILD, LAST)} == {"python:${PYTHON}"}
    assert re.search(r"^ARG PYTHON=3\.\d+-slim$", DOCKERFILE, re.MULTILINE)


def test_the_labels_tell_this_release() -> None:
    project = tomllib.loads((tree.CHECKOUT / "pyproject.toml").read_text())["project"]
    labels = dict(pair.split("=", 1) for pair in containers.one(LAST, "LABEL").argv)
    prefix = "org.opencontainers.image."
    assert labels.pop(prefix + "title") == "Ledger Worker"
    assert labels == {
        prefix + "description": project["description"],
        prefix + "version": project["version"],
        prefix + "revision": "${REVISION}",
    }


def test_our_own_services_write_nowhere_and_can_become_nobody_else() -> None:
    assert OURS.keys() == {"sandbox", "init", "worker", "more-workers"}
    for name, service in OURS.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "user", "cap_add", "volumes"} & service.keys(), name


def test_only_this_machine_reaches_the_ports_and_each_is_taken_once() -> None:
    ports = [str(port) for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 6
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)
    assert "ports" not in SERVICES["more-workers"], "one machine has each port once"


def test_every_path_that_is_copied_or_mounted_is_there() -> None:
    ignored = (tree.CHECKOUT / ".dockerignore").read_text().splitlines()
    sources = [source for step in BUILD if step.word == "COPY" for source in step.argv[:-1]]
    assert len(sources) >= 7
    assert ignored[0] == "*"
    assert sorted(f"!{source}" for source in sources) == sorted(line for line in ignored if line.startswith("!"))
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    here = [path for path in mounted if path.startswith("./")]
    assert len(here) == 5
    named = set(mounted) - set(here)
    assert named == set(containers.compose()["volumes"])
    for path in (*sources, *here):
        assert (tree.CHECKOUT / path).exists(), path


def test_what_is_mounted_names_what_is_mounted_beside_it() -> None:
    inside = {path.split(":")[1] for path in SERVICES["prometheus"]["volumes"] if path.startswith("./")}
    prometheus = yaml.safe_load((tree.CHECKOUT / "deploy/prometheus/prometheus.yml").read_text())
    assert {f"/etc/prometheus/{name}" for name in prometheus["rule_files"]} <= inside
    [found] = prometheus["scrape_configs"][0]["dns_sd_configs"]
    assert set(found["names"]) == OURS.keys() - {"sandbox", "init"}
    assert found["port"] == Settings.model_fields["http_port"].default
    sources = yaml.safe_load((tree.CHECKOUT / "deploy/grafana/datasources.yml").read_text())["datasources"]
    assert [source["url"] for source in sources] == ["http://prometheus:9090"]
    folder = yaml.safe_load((tree.CHECKOUT / "deploy/grafana/dashboards.yml").read_text())["providers"][0]["options"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.startswith(folder["path"] + "/")
    assert any(path.split(":")[1] == home for path in SERVICES["grafana"]["volumes"])


def test_every_setting_in_them_exists() -> None:
    known = {variable(name) for name in Settings.model_fields}
    named = set(re.findall(r"LEDGER_[A-Z0-9_]+", COMPOSE + DOCKERFILE + " ".join(EXAMPLE)))
    assert len(named) >= 8
    assert {name for name in named if not name.startswith(FOREIGN_PREFIXES)} <= known


def _commands(service: dict[str, Any]) -> Iterator[list[str]]:
    """What a service runs, one by one where a shell is told several."""
    argv = containers.argv(service, containers.one(LAST, "ENTRYPOINT").argv, containers.one(LAST, "CMD").argv)
    for line in argv[2].split("&&") if argv[:2] == ["sh", "-c"] else [shlex.join(argv)]:
        yield shlex.split(line)


@pytest.mark.parametrize(
    ("name", "commands"),
    [("sandbox", []), ("init", ["migrate", "topics apply"]), ("worker", ["run"]), ("more-workers", ["run"])],
)
def test_every_command_in_them_exists(name: str, commands: list[str]) -> None:
    found = list(_commands(OURS[name]))
    assert [typed.parse(words[1:]) for words in found if words[0] == "ledger-worker"] == commands
    others = [words for words in found if words[0] != "ledger-worker"]
    assert len(others) == (name == "sandbox")
    for words in others:
        assert words[:4] == ["exec", "python", "-m", "sandbox"]
        given = sandbox_parser().parse_args(words[4:])
        assert (given.command, given.app_secret) == ("serve", "$APP_SECRET")


@pytest.mark.parametrize("words", [["walk"], ["topics", "aply"], ["run", "--roles", "intake"], ["migrate", "now"]])
def test_a_command_that_does_not_exist_is_seen(words: list[str]) -> None:
    with pytest.raises(typed.UsageError):
        typed.parse(words)


@pytest.mark.parametrize("name", OURS)
def test_a_healthcheck_asks_where_its_own_command_listens(name: str) -> None:
    asked = " ".join(map(str, OURS[name]["healthcheck"].get("test", [])))
    port = {"sandbox": 8080, "init": None}.get(name, Settings.model_fields["http_port"].default)
    assert re.findall(r"http://127\.0\.0\.1:(\d+)", asked) == ([] if port is None else [str(port)])


def test_the_image_asks_for_what_the_worker_answers() -> None:
    text = " ".join(containers.one(LAST, "HEALTHCHECK").argv)
    assert re.findall(r"'(/\w+)'", text) == ["/livez"]
    assert f"'LEDGER_HTTP_PORT', '{Settings.model_fields['http_port'].default}'" in text
    assert containers.one(LAST, "EXPOSE").value == str(Settings.model_fields["http_port"].default)
