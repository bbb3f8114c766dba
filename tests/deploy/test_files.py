"""The files of `deploy/` name only what exists: settings, commands, ports, routes, metrics and labels."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import asyncpg
import click
import pytest
import yaml
from litestar.testing import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from support.company import Company
from tagwarden.app import cli_admin, cli_run  # noqa: F401  registers the commands
from tagwarden.app.asgi import create_app
from tagwarden.app.cli import cli
from tagwarden.app.metrics import Metrics
from tagwarden.kernel.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
MANIFESTS = [DEPLOY / "kubernetes" / f"{name}.yaml" for name in ("upgrade", "serve", "worker", "secrets.example")]
SETTINGS = {f"TAGWARDEN_{name.upper()}" for name in Settings.model_fields}
APP_PASSWORD = "TAGWARDEN_APP_PASSWORD"  # a variable of the database's own container, which no process of ours reads
OWNERS_URL = "TAGWARDEN_MIGRATION_DATABASE_URL"
PORT = Settings.model_fields["port"].default


def read(*parts: str) -> str:
    return DEPLOY.joinpath(*parts).read_text(encoding="utf-8")


def documents() -> list[dict[str, Any]]:
    """Every Kubernetes object."""
    return [one for path in MANIFESTS for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for one in documents():
        if one["kind"] in ("Deployment", "Job"):
            yield one["metadata"]["name"], one["spec"]["template"]["spec"]


def is_command(words: list[str]) -> bool:
    """Whether the command line has these words as a command without further arguments."""
    found: click.Command | None = cli
    for word in words:
        found = found.commands.get(word) if isinstance(found, click.Group) else None
    return found is not None and not isinstance(found, click.Group)


def test_only_settings_that_exist_are_named() -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(DEPLOY.rglob("*")) if path.is_file()]
    named = {name for text in texts for name in re.findall(r"TAGWARDEN_[A-Z_]*[A-Z]", text)}
    assert named - SETTINGS == {APP_PASSWORD}


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_runs_a_command_and_is_hardened(unit: Path) -> None:
    lines = [line for line in unit.read_text(encoding="utf-8").splitlines() if "=" in line and not line.startswith("#")]
    held = {}
    for name, _, value in (line.partition("=") for line in lines):
        held.setdefault(name, []).append(value)
    assert is_command(held["ExecStart"][0].split()[1:])
    for name in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectHome", "RestrictSUIDSGID", "DynamicUser"):
        assert held[name] == ["yes"], name
    assert held["ProtectSystem"] == ["strict"]
    assert held["CapabilityBoundingSet"] == [""]
    owners = "/etc/tagwarden/upgrade.env" in held["EnvironmentFile"]
    assert owners == (unit.stem == "tagwarden-upgrade"), "only the upgrade sees the owner's URL"


def test_compose_starts_what_there_is_in_its_order() -> None:
    services = yaml.safe_load(read("compose.yaml"))["services"]
    ours = {name: one for name, one in services.items() if one["image"] == "tagwarden"}
    assert ours.keys() == {"upgrade", "serve", "worker"}
    assert all(is_command(one["command"]) for one in ours.values())
    assert [name for name, one in ours.items() if "secrets/owner.env" in one["env_file"]] == ["upgrade"]
    for name in ("serve", "worker"):
        assert ours[name]["depends_on"]["upgrade"] == {"condition": "service_completed_successfully"}
        assert ours[name]["depends_on"].keys() <= services.keys()
    assert ours["serve"]["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    script = services["postgres"]["volumes"][1].split(":")[0]
    assert (DEPLOY / script).stat().st_mode & 0o111


def test_the_image_runs_as_nobody_and_asks_for_liveness() -> None:
    text = read("Dockerfile")
    last = text[text.rindex("FROM ") :]
    assert re.search(r"^USER (?!0|root)\S+$", last, re.MULTILINE)
    assert "/health/live" in last
    assert f"EXPOSE {PORT}" in last
    assert is_command(json.loads(re.findall(r"^CMD (.*)$", last, re.MULTILINE)[0]))
    installs = re.findall(r"pip install (.*)$", text, re.MULTILINE)
    assert all("--require-hashes" in one or "--no-index" in one for one in installs)
    for line in re.findall(r"^COPY (?!--)(.*)$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split()[:-1]), line


def test_what_the_package_imports_is_locked() -> None:
    """An image has the locked distributions and nothing else, whatever this environment has."""
    locked = {
        _plain(name)
        for name in re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    }
    given_by = packages_distributions()
    imported = (
        {name for path in (ROOT / "backend").rglob("*.py") for name in _imported(path)} - sys.stdlib_module_names - {"tagwarden"}
    )
    assert {"litestar", "asyncpg", "prometheus_client"} <= imported
    optional = {"opentelemetry"}  # the extra `otel`: imported only where it is asked for, and missed with a sentence
    assert {name for name in imported if not {_plain(one) for one in given_by.get(name, ())} & locked} == optional


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_pods_are_hardened_and_see_no_more_than_they_need() -> None:
    found = dict(pods())
    assert found.keys() == {"tagwarden-upgrade", "tagwarden-serve", "tagwarden-worker"}
    for name, pod in found.items():
        (container,) = pod["containers"]
        assert is_command(container["args"])
        assert pod["enableServiceLinks"] is False, "a service's variables would be taken for settings"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"]
        secrets = [one["secretRef"]["name"] for one in container["envFrom"]]
        assert ("tagwarden-owner" in secrets) == (name == "tagwarden-upgrade")
    kept = {one["metadata"]["name"]: one["stringData"].keys() for one in documents() if one["kind"] == "Secret"}
    assert kept["tagwarden-owner"] == {OWNERS_URL}
    assert OWNERS_URL not in kept["tagwarden"]


def test_probes_ask_routes_that_exist_on_a_port_that_is_listened_on() -> None:
    serve = dict(pods())["tagwarden-serve"]
    (container,) = serve["containers"]
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert ports == {"http": int(next(one["value"] for one in container["env"] if one["name"] == "TAGWARDEN_PORT"))}
    app = create_app(Settings(secret_key=SecretStr("a secret of this test, long enough to be one")), opens_database=False)
    probed = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {one["port"] for one in probed.values()} == {"http"}
    assert probed["liveness"]["path"] == "/health/live"
    assert probed["readiness"]["path"] == "/health/ready"
    with TestClient(app) as client:  # there is no database here: alive, and not ready
        assert client.get(probed["liveness"]["path"]).status_code == 200
        assert client.get(probed["readiness"]["path"]).status_code == 503
    service = next(one for one in documents() if one["kind"] == "Service")
    deployment = next(one for one in documents() if one["metadata"]["name"] == "tagwarden-serve" and one["kind"] == "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["ports"][0]["targetPort"] == "http"


def test_the_example_secrets_are_settings_that_load(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in documents():
        for name, value in one.get("stringData", {}).items():
            monkeypatch.setenv(name, value)
    found = Settings()
    assert found.issuers[0].issuer == "crm"
    assert not found.embedded


def test_kustomize_draws_the_manifests() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on the PATH")
    drawn = subprocess.run([kubectl, "kustomize", DEPLOY / "kubernetes"], capture_output=True, text=True, check=True).stdout
    assert sorted(one["kind"] for one in yaml.safe_load_all(drawn)) == ["Deployment", "Deployment", "Job", "Service"]


# -- metrics ------------------------------------------------------------------------------------------------------------

OF_PROMETHEUS = {"up": {"job", "instance"}}
ADDED_BY_PROMETHEUS = {"job", "instance", "le"}
NAME = re.compile(r"(?<![\w$\"{])(tagwarden_\w+|process_\w+|up)(?=[\s{\[)]|$)")


@pytest.fixture
async def exposed(company: Company, sql: asyncpg.Connection) -> dict[str, set[str]]:
    """Sample names and their labels, as a process of ours exposes them."""
    await sql.execute("update corp_credential set stopped_at = now() where corp_id = $1", company.corp_id)
    measured = Metrics(60)
    measured.request_ended("GET", "/v1/me", 200, 0.01)
    text = (await measured.scrape()).decode()
    found = {name: set(labels) for name, labels in OF_PROMETHEUS.items()}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def alerts() -> dict[str, str]:
    """Alert → expression."""
    groups = yaml.safe_load(read("prometheus", "alerts.yaml"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    for rule in rules:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "what_to_do"} <= rule["annotations"].keys()
    return {rule["alert"]: rule["expr"] for rule in rules}


def panels() -> list[str]:
    """Every expression on the board."""
    board = json.loads(read("grafana", "tagwarden.json"))
    found = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    return [*found, *(one["query"]["query"] for one in board["templating"]["list"] if one["type"] == "query")]


def test_every_metric_and_label_that_is_asked_for_is_exposed(exposed: dict[str, set[str]]) -> None:
    asked = [*alerts().values(), *panels()]
    assert len(asked) > 30
    for expression in asked:
        names = set(NAME.findall(expression.replace("label_values(", "").replace(",", " ,")))
        assert names, expression
        assert names <= exposed.keys(), expression
        known = ADDED_BY_PROMETHEUS.union(*(exposed[name] for name in names))
        braces = " ".join(re.findall(r"\{([^}]*)\}", expression))
        labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", braces))
        for listed in re.findall(r"by \(([^)]*)\)", expression):
            labels |= set(listed.replace(" ", "").split(","))
        assert labels <= known, expression


def test_what_has_to_be_told_has_an_alert() -> None:
    told = " ".join(alerts().values())
    for metric in (
        "tagwarden_sync_oldest_waiting_seconds",
        "tagwarden_sync_given_up",
        "tagwarden_wecom_stopped",
        'tagwarden_processes_alive{role="worker"}',
        'status="5xx"',
        "tagwarden_org_mirror_age_seconds) > 86400",
        "tagwarden_database_up",
    ):
        assert metric in told


def test_everything_exposed_is_on_the_board(exposed: dict[str, set[str]]) -> None:
    board = " ".join([*panels(), *alerts().values()])
    ours = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in exposed if name.startswith("tagwarden_")}
    assert {name for name in ours if name not in board} == {"tagwarden_database_pool_size"}


def test_prometheus_looks_where_the_service_listens() -> None:
    config = yaml.safe_load(read("prometheus", "prometheus.yaml"))
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "tagwarden"
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{PORT}"]}]
    assert all((DEPLOY / "prometheus" / name).is_file() for name in config["rule_files"])
