"""Names and labels: by Prometheus' conventions, explained, and never a household's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import metrics_reference
from worker import metrics
from worker.metrics import OPEN_LABELS, REGISTRY, Definition, define
from worker.ops import fleet_metrics

ROOT = Path(__file__).parents[2]
DEFINITIONS = [*metrics.BOOK.definitions, *fleet_metrics.BOOK.definitions]
UNITS = ("_seconds", "_ratio", "_total")
COUNTED_THINGS = {"accounts", "workers", "messages", "tasks", "notices", "permits", "night", "gate", "up"}
COUNTED_THINGS |= {"corrections", "findings", "incident", "surprises"}


def test_the_page_of_metrics_is_what_the_code_says() -> None:
    page = ROOT / "docs" / "reference" / "metrics.md"
    assert page.read_text(encoding="utf-8") == metrics_reference.to_markdown()


def test_every_metric_that_is_counted_is_defined_and_every_defined_one_is_counted() -> None:
    counted = {sample.name for metric in REGISTRY.collect() for sample in metric.samples}
    defined = {name for told in metrics.BOOK.definitions for name in told.exposed}
    unlabelled = {name for told in metrics.BOOK.definitions if not told.labels for name in told.exposed}
    assert unlabelled <= counted
    assert {name for name in counted if not name.endswith("_created")} <= defined
    assert {metric.name for metric in REGISTRY.collect()} == {
        told.name.removesuffix("_total") for told in metrics.BOOK.definitions
    }


@pytest.mark.parametrize("told", DEFINITIONS, ids=lambda told: told.name)
def test_a_name_says_whose_it_is_and_what_is_measured(told: Definition) -> None:
    assert re.fullmatch(r"releve_[a-z_]+", told.name)
    assert told.name.endswith("_total") == (told.kind == "counter")
    assert told.name.endswith(UNITS) or any(word in told.name.split("_") for word in COUNTED_THINGS)
    assert told.kind != "histogram" or told.name.endswith("_seconds")
    assert told.help.endswith(".") and "\n" not in told.help


@pytest.mark.parametrize("told", DEFINITIONS, ids=lambda told: told.name)
def test_a_label_takes_few_values_that_are_known_beforehand(told: Definition) -> None:
    for label, values in told.labels.items():
        assert values or label in OPEN_LABELS
        assert len(set(values)) == len(values) <= 20
    assert not {"account", "account_id", "meter", "usage_point", "run", "run_id", "url", "instance"} & set(told.labels)


def test_a_label_without_listed_values_must_be_explained() -> None:
    with pytest.raises(ValueError, match="account_id"):
        define("counter", "releve_any_total", "Anything.", {"account_id": ()})
