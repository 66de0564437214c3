"""What can be said of the container files where no Docker engine is."""

import re
from typing import Any

import yaml

from tests.tidy import tree

COMPOSE = (tree.CHECKOUT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]


def test_the_whole_path_is_there() -> None:
    assert SERVICES.keys() == {"kafka", "postgres", "sandbox", "init", "worker"}
    assert SERVICES["kafka"]["image"].startswith("apache/kafka:")
    assert SERVICES["postgres"]["image"] == "postgres:18"


def test_everything_that_goes_on_running_has_a_healthcheck() -> None:
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == {"init"}


def test_whoever_waits_waits_for_something_that_exists() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            finished = how["condition"] == "service_completed_successfully"
            assert finished == ("healthcheck" not in SERVICES[name])


def test_secrets_come_from_the_environment_and_are_asked_for() -> None:
    wanted = set(re.findall(r"\$\{(\w+):\?", COMPOSE))
    assert set(re.findall(r"\$\{(\w+)", COMPOSE)) == wanted
    example = (tree.CHECKOUT / ".env.example").read_text()
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == wanted
    assert not re.search(r"^\w+=.", example, re.MULTILINE)
    for line in COMPOSE.splitlines():
        if re.search(r"(PASSWORD|SECRET|TOKEN|KEY)\w*: ", line):
            assert "${" in line, line


def test_the_image_takes_no_secret_and_no_root() -> None:
    text = (tree.CHECKOUT / "Dockerfile").read_text()
    assert not re.search(r"^(?:ENV|ARG).*(?:PASSWORD|SECRET|TOKEN|KEY)", text, re.MULTILINE)
    assert re.search(r"^USER (?!root)\w+", text, re.MULTILINE)


def test_only_this_machine_reaches_the_ports() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)
