"""Dashboard, alerts and Prometheus' configuration name only metrics and labels that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from worker import metrics
from worker.ops import fleet_metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
STORIES = Path(__file__).parent / "alerts_test.yml"
CONFIG = DEPLOY / "prometheus" / "prometheus.yml"
DEFINED = {
    name: metric
    for metric in [*metrics.WORKER_METRICS.definitions, *fleet_metrics.METRICS.definitions]
    for name in metric.sample_names
}
# Metrics that the library adds for a process, and Prometheus for a target.
FOREIGN = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
OF_TARGETS = {"job", "instance", "service", "le"}
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "releve.json").read_text(encoding="utf-8"))


def alerts() -> list[dict[str, str]]:
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in alerts())
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", []))


EXPRESSIONS = sorted(set(expressions()))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_asks_for_metrics_and_labels_that_there_are(expression: str) -> None:
    names = set(re.findall(r"\b(?:releve|process)_[a-z_]+|\bup\b", expression))
    assert names and names <= set(DEFINED) | FOREIGN
    labels = {label for name in names & set(DEFINED) for label in DEFINED[name].labels}
    for name, matchers in re.findall(r"(releve_[a-z_]+)\{([^}]*)\}", expression):
        for label, kind, value in re.findall(r'(\w+)(=~|!=|!~|=)"([^"]*)"', matchers):
            listed = DEFINED[name].labels[label]
            assert not listed or set(value.split("|") if "~" in kind else [value]) <= set(listed)
    for grouping in re.findall(r"(?:by|without|ignoring) ?\(([^)]*)\)", expression):
        assert set(filter(None, re.split(r"[ ,]+", grouping))) <= labels | OF_TARGETS


def test_every_metric_is_looked_at_somewhere() -> None:
    used = set(re.findall(r"\breleve_[a-z_]+", " ".join(EXPRESSIONS)))
    assert [metric.name for metric in DEFINED.values() if not used & set(metric.sample_names)] == []


def test_every_series_of_the_legends_is_a_label_of_its_expression() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            names = re.findall(r"\breleve_[a-z_]+", target["expr"])
            labels = {label for name in names for label in DEFINED[name].labels} | OF_TARGETS
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, panel["title"]


def test_an_alert_says_how_urgent_it_is_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "look"), rule["alert"]  # type: ignore[index]
        assert {"summary", "what_to_do"} == set(rule["annotations"]), rule["alert"]


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    (source,) = sources["datasources"]
    asked = {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])}
    assert asked == {source["uid"]}


def test_panels_have_places_of_their_own() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", str(CONFIG)), ("check", "rules", str(ALERTS)), ("test", "rules", str(STORIES))],
    ids="-".join,
)
def test_prometheus_itself_takes_them(arguments: tuple[str, ...]) -> None:
    run = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
