"""The chart, rendered by the real helm as each example sets it, and each document by Kubernetes' own schemas.

`python -m tests.checks.chart HELM`, or `make checks`. The schemas are those of the PyPI package `kubernetes-validate`; the
oldest release that the chart says it runs on and the newest that the package has are tried. ServiceMonitor is not
Kubernetes' own and has no schema there: it must only select the Service, by a port of it.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from tests.tidy.tree import CHECKOUT

CHART = CHECKOUT / "deploy/helm/ledger-worker"
EXAMPLES = sorted((CHECKOUT / "deploy/helm/examples").glob("*.yaml"))
OLDEST = re.search(r"[\d.]+", yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"])[0]  # type: ignore[index]
PLAIN = ("--set", "settings.LEDGER_KAFKA_BOOTSTRAP_SERVERS=kafka:9092,settings.LEDGER_WHALE_BASE_URL=https://b.example")
ROLES = ("intake", "lanes", "timers", "relay")


def _deployment(*roles: str, replicas: int = 1) -> str:
    return json.dumps({"name": "a", "roles": roles, "replicas": replicas})


REFUSED = {
    "no Kafka": ((), "LEDGER_KAFKA_BOOTSTRAP_SERVERS is missing"),
    "a secret in plain text": ((*PLAIN, "--set", "settings.LEDGER_WHALE_APP_SECRET=s"), "'not' failed"),
    "a number": ((*PLAIN, "--set", "settings.LEDGER_WHALE_RATE_PER_S=5"), "want string"),
    "a value that nothing reads": ((*PLAIN, "--set", "replicas=3"), "replicas"),
    "no reference": (
        (*PLAIN, "--set", "secrets.LEDGER_WHALE_ACCESS_TOKEN=null"),
        "LEDGER_WHALE_ACCESS_TOKEN is missing",
    ),
    "a setting twice": (
        (*PLAIN, "--set", "settings.LEDGER_WHALE_APP_KEY=k"),
        "LEDGER_WHALE_APP_KEY stands in settings",
    ),
    "a role that nobody has": (
        (*PLAIN, "--set-json", f"deployments=[{_deployment('intake', 'lanes', 'relay')}]"),
        "has the role timers",
    ),
    "a role that nobody runs": (
        (*PLAIN, "--set-json", f"deployments=[{_deployment(*ROLES, replicas=0)}]"),
        "has the role intake",
    ),
    "a name twice": (
        (*PLAIN, "--set-json", f"deployments=[{_deployment(*ROLES)},{_deployment(*ROLES)}]"),
        "two deployments are called a",
    ),
}
"""What must not render, and the words of the refusal."""


def main(helm: str) -> None:
    """Print what is wrong and end with 1, or say that all is valid."""
    wrong, documents_count = [], 0
    newest = kubernetes_validate.latest_version()
    for example in EXAMPLES:
        linted = _run(helm, "lint", "--strict", CHART, "--values", example)
        wrong += [] if linted.returncode == 0 else [f"{example.name}: {linted.stdout}"]
        for version in (OLDEST, newest):
            rendered = _run(helm, "template", "try", CHART, "--kube-version", version, "--values", example)
            if rendered.returncode:
                wrong.append(f"{example.name}: {rendered.stderr}")
                continue
            documents = [one for one in yaml.safe_load_all(rendered.stdout) if one]
            documents_count += len(documents)
            wrong += [f"{example.name}, Kubernetes {version}: {one}" for one in _judged(documents, version)]
    for what, (values, sentence) in REFUSED.items():
        done = _run(helm, "template", "try", CHART, "--kube-version", newest, *values)
        if done.returncode == 0 or sentence not in done.stderr:
            wrong.append(f"{what}: not refused with '{sentence}' but {done.returncode}: {done.stderr}")
    if wrong:
        sys.exit("\n".join(wrong))
    told = f"{documents_count} documents of the chart are valid by the schemas of Kubernetes {OLDEST} and {newest}"
    sys.stdout.write(f"{told}; {len(REFUSED)} sets of values are refused\n")


def _run(*argv: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def _judged(documents: list[dict[str, Any]], version: str) -> list[str]:
    wrong = []
    for one in documents:
        name = f"{one['kind']} {one['metadata']['name']}"
        if one["kind"] == "ServiceMonitor":
            wrong += [] if _finds_its_service(one, documents) else [f"{name} finds no Service"]
            continue
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            wrong.append(f"{name}: {error}")
        if "selector" in one["spec"]:
            wrong += [] if _selects_pods(one["spec"]["selector"], documents) else [f"{name} selects no pods"]
        if "podSelector" in one["spec"]:
            wrong += [] if _selects_pods(one["spec"]["podSelector"], documents) else [f"{name} selects no pods"]
    return wrong


def _selects_pods(selector: dict[str, Any], documents: list[dict[str, Any]]) -> bool:
    wanted = selector.get("matchLabels", selector).items()
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in documents if "template" in one["spec"]]
    return bool(wanted) and any(wanted <= labels.items() for labels in pods)


def _finds_its_service(monitor: dict[str, Any], documents: list[dict[str, Any]]) -> bool:
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    found = [one for one in documents if one["kind"] == "Service" and wanted <= one["metadata"]["labels"].items()]
    ports = {port["name"] for one in found for port in one["spec"]["ports"]}
    return bool(ports) and {one["port"] for one in monitor["spec"]["endpoints"]} <= ports


if __name__ == "__main__":
    main(sys.argv[1])
