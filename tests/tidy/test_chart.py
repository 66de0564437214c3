"""What can be said of the chart where no helm is; `make checks` renders it and validates it by Kubernetes' schemas."""

import json
import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.tidy import containers, tree, typed
from worker.cli.run import ROLES
from worker.settings import Settings, is_secret, required, variable

CHART = tree.CHECKOUT / "deploy/helm/ledger-worker"
EXAMPLES = sorted((tree.CHECKOUT / "deploy/helm/examples").glob("*.yaml"))
TEMPLATES = {path.name: path.read_text() for path in sorted((CHART / "templates").iterdir())}
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
WORKER = TEMPLATES["deployments.yaml"]
KNOWN = {variable(name) for name in Settings.model_fields}
SECRETS = {variable(name) for name in Settings.model_fields if is_secret(name)}


@pytest.mark.parametrize("path", [*CHART.rglob("*.*"), *EXAMPLES], ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(path: Any) -> None:
    named = set(re.findall(r"LEDGER_[A-Z0-9_]*[A-Z0-9]\b", path.read_text()))
    assert {name for name in named if name.removesuffix("_FILE") not in KNOWN and name not in KNOWN} == set()


def test_settings_are_named_where_they_are_looked_for() -> None:
    assert sum("LEDGER_" in text for text in TEMPLATES.values()) >= 3
    assert VALUES["settings"].keys() | VALUES["secrets"].keys() <= KNOWN
    beginnings = re.findall(r'"reads" "\^LEDGER_(.+?)_"', TEMPLATES["hooks.yaml"])
    assert beginnings == ["DATABASE", "(KAFKA|TOPIC)"]
    assert all(any(re.match(f"LEDGER_{one}_", name) for name in KNOWN) for one in beginnings)


def test_all_that_a_worker_cannot_start_without_is_asked_for() -> None:
    asked = set(re.findall(r'"(LEDGER_\w+)"', WORKER.partition("{{- $roles")[0]))
    assert asked == {variable(name) for name in required()}


def test_no_secret_can_be_given_in_plain_text() -> None:
    forbidden = SCHEMA["definitions"]["settings"]["propertyNames"]["not"]["anyOf"]
    assert {"pattern": "_FILE$"} in forbidden
    assert [set(one["enum"]) for one in forbidden if "enum" in one] == [SECRETS]
    assert not VALUES["settings"].keys() & SECRETS
    assert not any("secretKeyRef" in text for text in TEMPLATES.values()), "a variable is not read again, a file is"
    assert not any("subPath:" in text for text in TEMPLATES.values()), "a subPath does not follow its Secret"


def test_every_default_is_known_to_the_schema_and_the_other_way_round() -> None:
    assert VALUES.keys() == SCHEMA["properties"].keys() - {"global"}
    for name, value in VALUES.items():
        inside = SCHEMA["properties"][name].get("properties")
        if inside is not None and name != "settings":
            assert value.keys() == inside.keys(), name


def test_the_roles_are_those_of_the_worker() -> None:
    of_one = SCHEMA["properties"]["deployments"]["items"]["properties"]["roles"]["items"]["enum"]
    assert tuple(of_one) == ROLES
    assert [tuple(one["roles"]) for one in VALUES["deployments"]] == [ROLES]
    assert " ".join(f'"{role}"' for role in ROLES) in WORKER
    for path in EXAMPLES:
        given = yaml.safe_load(path.read_text()).get("deployments", VALUES["deployments"])
        assert {role for one in given for role in one["roles"]} == set(ROLES), path.name


def test_every_command_in_it_exists() -> None:
    assert re.findall(r"args: (.+)", WORKER) == ['[run, --role, {{ join "," .roles | quote }}]']
    lists = re.findall(r'"args" \(list ((?:"\w+" ?)+)\)', TEMPLATES["hooks.yaml"])
    jobs = [re.findall(r'"(\w+)"', one) for one in lists]
    told = re.findall(r"-- ledger-worker (.+)", TEMPLATES["NOTES.txt"])
    assert [typed.parse(words) for words in (["run", "--role", "intake"], *jobs)] == ["run", "migrate", "topics apply"]
    assert [typed.parse(one.split()) for one in told] == ["doctor"]


def test_the_probes_ask_for_what_the_worker_answers() -> None:
    probes = dict(re.findall(r"(\w+)Probe:\n\s+httpGet: \{path: (/\w+), port: http\}", WORKER))
    assert probes == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    health = (tree.CHECKOUT / "worker/observe/health.py").read_text()
    assert all(f'add_get("{path}"' in health for path in {*probes.values(), "/metrics"})
    assert re.findall(r"path: (/metrics)$", TEMPLATES["monitor.yaml"], re.MULTILINE) == ["/metrics"]


def test_defaults_are_those_of_the_worker_where_it_has_one() -> None:
    fields = Settings.model_fields
    assert int(VALUES["settings"]["LEDGER_HTTP_PORT"]) == fields["http_port"].default
    assert float(VALUES["settings"]["LEDGER_DRAIN_S"]) == fields["drain_s"].default


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_worker_would_start_with_each_example(path: Any, tmp_path: Any) -> None:
    example = yaml.safe_load(path.read_text())
    secrets = VALUES["secrets"] | example.get("secrets", {})
    given = dict.fromkeys(secrets, "x") | VALUES["settings"] | example["settings"]
    assert not secrets.keys() & example["settings"].keys()
    for name, file in re.findall(r"(LEDGER_\w+): /run/ledger/(\S+)", path.read_text()):
        (tmp_path / file).touch()
        given[name] = str(tmp_path / file)
    assert set(re.findall(r"/run/ledger/([\w.-]+)", path.read_text())) == set(example.get("files", {}))
    Settings.from_env(given | {"LEDGER_DATABASE_URL": "postgresql://u:p@h:5432/d"})


def test_a_pod_is_the_images_user_and_can_do_no_more() -> None:
    user = containers.one(containers.stages()[-1], "USER").value.partition(":")[0]
    pod = TEMPLATES["_parts.tpl"]
    assert re.findall(r"(?:runAsUser|runAsGroup|fsGroup): (\d+)", pod) == [user] * 3
    wanted = (
        "runAsNonRoot: true",
        "readOnlyRootFilesystem: true",
        "allowPrivilegeEscalation: false",
        "capabilities: {drop: [ALL]}",
        "seccompProfile: {type: RuntimeDefault}",
        "automountServiceAccountToken: false",
        "enableServiceLinks: false",
    )
    assert [line for line in wanted if line not in pod] == []
    for text in (WORKER, TEMPLATES["hooks.yaml"]):
        assert all(f'include "ledger.{part}"' in text for part in ("pod", "container", "environment", "volumes"))


def test_it_deploys_this_release() -> None:
    project = tomllib.loads((tree.CHECKOUT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["appVersion"], chart["description"]) == (project["version"], project["description"])
    assert VALUES["image"]["tag"] == ""
