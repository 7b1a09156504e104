"""Dashboard, alerts and Prometheus' configuration name only metrics and labels that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.metric_counts import sample_names
from worker import metrics
from worker.ops import fleet_metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
STORIES = Path(__file__).parent / "alerts_test.yml"
CONFIG = DEPLOY / "prometheus" / "prometheus.yml"
DEFINED = {
    name: metric
    for metric in [*metrics.WORKER_METRICS.definitions, *fleet_metrics.METRICS.definitions]
    for name in sample_names(metric)
}
# Metrics that the library adds for a process, and Prometheus for a target.
FOREIGN = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
OF_TARGETS = {"job", "instance", "service", "le"}
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "releve.json").read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    """Return the rules of every file that Prometheus is given, alerts and recording rules."""
    files = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["rule_files"]
    assert files == [ALERTS.name], "read here, every one"
    groups = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def queries(part: Any) -> Iterator[str]:
    """Yield each query in a part of a dashboard: of its panels, of rows' panels, of variables and annotations."""
    for name, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if isinstance(value, str) and name in ("expr", "query", "definition"):
            yield value
        yield from queries(value)


def panels() -> Iterator[dict[str, Any]]:
    """Yield the panels of the dashboard, those of collapsed rows as well."""
    for panel in DASHBOARD["panels"]:
        yield from (panel, *panel.get("panels", []))


EXPRESSIONS = sorted({*(rule["expr"] for rule in rules()), *queries(DASHBOARD)})
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
METRIC_NAME = r"\b(?:releve|process)_[a-z0-9_]+\b|\bup\b"
GROUPING = r"\b(?:by|without|on|ignoring|group_left|group_right) ?\(([^)]*)\)"


def labels_of(names: set[str]) -> set[str]:
    return OF_TARGETS | {label for name in names & set(DEFINED) for label in DEFINED[name].labels}


def test_expressions_ask_for_metrics_and_labels_that_there_are() -> None:
    unknown = {expression: found for expression in EXPRESSIONS if (found := list(unknown_names(expression)))}
    assert unknown == {}


def unknown_names(expression: str) -> Iterator[str]:
    """Yield the metrics, labels and values of an expression that there are not."""
    names = set(re.findall(METRIC_NAME, re.sub(r"\{[^}]*\}", "", expression)))
    yield from names - set(DEFINED) - FOREIGN - RECORDED if names else ["no metric"]
    labels = labels_of(names)
    selected = re.findall(rf"({METRIC_NAME})\{{([^}}]*)\}}", expression)
    if len(selected) != expression.count("{"):
        yield "a selector that stands behind no metric's name"
    for name, matchers in selected:
        for label, kind, value in re.findall(r'(\w+)(=~|!=|!~|=)"([^"]*)"', matchers):
            if label not in labels_of({name}):
                yield f"{name}: {label}"
            if listed := DEFINED[name].labels.get(label) if name in DEFINED else None:
                yield from set(value.split("|") if "~" in kind else [value]) - set(listed)
    for grouping in re.findall(GROUPING, expression):
        yield from set(filter(None, re.split(r"[ ,]+", grouping))) - labels


@pytest.mark.parametrize(
    "expression",
    [
        "1 > 0",
        "releve_nothing",
        'releve_up{nothing="x"}',
        'releve_up{part="nothing"}',
        "sum by (nothing) (releve_up)",
        'sum(releve_up){part="registry"}',
    ],
)
def test_a_name_that_is_not_there_is_found(expression: str) -> None:
    assert list(unknown_names(expression))


def test_an_alert_s_texts_name_labels_of_its_metrics() -> None:
    for rule in alerts():
        labels = labels_of(set(re.findall(METRIC_NAME, rule["expr"])))
        assert set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))) <= labels, rule["alert"]


def test_every_metric_is_looked_at_somewhere() -> None:
    used = set(re.findall(r"\breleve_[a-z_]+", " ".join(EXPRESSIONS)))
    old = {metric.name for metric in fleet_metrics.OLD_GAUGES.values()}
    assert {metric.name for metric in DEFINED.values() if not used & set(sample_names(metric))} == old


def test_every_series_of_the_legends_is_a_label_of_its_expression() -> None:
    for panel in panels():
        for target in panel.get("targets", []):
            names = re.findall(r"\breleve_[a-z_]+", target["expr"])
            labels = {label for name in names for label in DEFINED[name].labels} | OF_TARGETS
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, panel["title"]


def test_an_alert_says_how_urgent_it_is_and_what_to_do() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "look"), rule["alert"]
        assert {"summary", "what_to_do"} == set(rule["annotations"]), rule["alert"]


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    (source,) = sources["datasources"]
    asked = {target["datasource"]["uid"] for panel in panels() for target in panel.get("targets", [])}
    assert asked == {source["uid"]}


def test_panels_have_places_and_ids_of_their_own() -> None:
    # What a collapsed row holds pushes the panels after it down, so it is compared with itself alone.
    for group in (DASHBOARD["panels"], *(panel["panels"] for panel in DASHBOARD["panels"] if panel.get("panels"))):
        taken: dict[tuple[int, int], str] = {}
        for panel in group:
            at = panel["gridPos"]
            assert at["x"] + at["w"] <= 24
            for x in range(at["x"], at["x"] + at["w"]):
                for y in range(at["y"], at["y"] + at["h"]):
                    assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: apt-get install prometheus")
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", str(CONFIG)), ("check", "rules", str(ALERTS)), ("test", "rules", str(STORIES))],
    ids="-".join,
)
def test_prometheus_itself_takes_them(arguments: tuple[str, ...]) -> None:
    run = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
