"""Names and labels of metrics follow Prometheus' conventions, are explained, and identify no household."""

from __future__ import annotations

import re

import pytest

from tests.support.metric_counts import sample_names
from worker import metrics
from worker.metrics import OPEN_LABELS, REGISTRY, Definition
from worker.ops import fleet_metrics

DEFINITIONS = [*metrics.WORKER_METRICS.definitions, *fleet_metrics.METRICS.definitions]
UNITS = ("_seconds", "_ratio", "_total")
COUNTED_THINGS = {"accounts", "workers", "messages", "tasks", "notices", "permits", "night", "gate", "up"}
COUNTED_THINGS |= {"corrections", "findings", "deviations", "incident", "answers", "series", "codes", "recipients"}


def test_every_metric_that_is_counted_is_defined_and_every_defined_one_is_counted() -> None:
    counted = {sample.name for metric in REGISTRY.collect() for sample in metric.samples}
    defined = {name for definition in metrics.WORKER_METRICS.definitions for name in sample_names(definition)}
    unlabelled = {
        name
        for definition in metrics.WORKER_METRICS.definitions
        if not definition.labels
        for name in sample_names(definition)
    }
    assert unlabelled <= counted
    assert {name for name in counted if not name.endswith("_created")} <= defined
    assert {metric.name for metric in REGISTRY.collect()} == {
        definition.name.removesuffix("_total") for definition in metrics.WORKER_METRICS.definitions
    }


@pytest.mark.parametrize("metric", DEFINITIONS, ids=lambda metric: metric.name)
def test_a_name_says_whose_it_is_and_what_is_measured(metric: Definition) -> None:
    assert re.fullmatch(r"releve_[a-z_]+", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith(UNITS) or any(word in metric.name.split("_") for word in COUNTED_THINGS)
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")
    assert metric.help.endswith(".") and "\n" not in metric.help


@pytest.mark.parametrize("metric", DEFINITIONS, ids=lambda metric: metric.name)
def test_a_label_takes_few_values_that_are_known_beforehand(metric: Definition) -> None:
    for label, values in metric.labels.items():
        assert values or label in OPEN_LABELS
        assert len(set(values)) == len(values) <= 20
    assert not {"account", "account_id", "meter", "usage_point", "run", "run_id", "url", "instance"} & set(
        metric.labels
    )
