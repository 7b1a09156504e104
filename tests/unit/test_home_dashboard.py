"""The dashboard of a home asks only for what the line protocol sends, of the data source that is provisioned."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.support.home_dashboard import DASHBOARD, PROVISIONED, queries
from tests.support.pages import ROOT
from worker.domain.series import Direction
from worker.outputs.line_protocol import MEASUREMENTS

SENT = {measurement.name: measurement for measurement in MEASUREMENTS}
_QUERY = re.compile(
    r'SELECT (?:(?:last|sum|mean|max)\("(?P<function>\w+)"\)|"(?P<field>\w+)") FROM "(?P<measurement>\w+)" '
    r"WHERE (?P<where>.*) AND \$timeFilter(?: GROUP BY (?P<groups>.*?) fill\(null\)(?: tz\('Europe/Paris'\))?)?"
)


@pytest.mark.parametrize("query", queries())
def test_a_query_names_a_measurement_a_field_and_tags_that_are_sent(query: str) -> None:
    match = _QUERY.fullmatch(query)
    assert match, "the test reads every query whole"
    measurement = SENT[match["measurement"]]
    assert (match["function"] or match["field"]) in measurement.fields
    conditions = dict(condition.split(" = ") for condition in match["where"].split(" AND "))
    assert conditions.pop('"account"') == "'$account'"
    for tag, value in conditions.items():
        assert (tag, value.strip("'")) in {('"direction"', direction.value) for direction in Direction}
    # Without its direction, a sum would add production to consumption.
    assert ("direction" in measurement.tags) == ('"direction"' in conditions)
    grouped = set(re.findall(r'"(\w+)"', match["groups"] or ""))
    assert grouped <= set(measurement.tags)
    if "period" in measurement.tags:
        assert "period" in grouped, "periods are added up only where that is said"


def test_the_account_is_chosen_among_those_that_are_sent() -> None:
    datasource, account = DASHBOARD["templating"]["list"]
    assert (datasource["name"], account["name"]) == ("datasource", "account")
    named = re.fullmatch(r'SHOW TAG VALUES FROM "(\w+)", "(\w+)" WITH KEY = "account"', account["query"])
    assert named and set(named.groups()) <= set(SENT)


def test_it_begins_with_the_data_source_that_is_provisioned_and_takes_any_other() -> None:
    (source,) = yaml.safe_load(PROVISIONED.read_text(encoding="utf-8"))["datasources"]
    datasource = DASHBOARD["templating"]["list"][0]
    assert (datasource["query"], datasource["current"]["value"]) == (source["type"], source["uid"])
    parts = [part for panel in DASHBOARD["panels"] for part in (panel, *panel["targets"])]
    assert {part["datasource"]["uid"] for part in parts} == {"${datasource}"}


def test_panels_have_places_and_ids_of_their_own() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for place in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert taken.setdefault(place, panel["title"]) == panel["title"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_the_page_lists_every_measurement_with_its_tags_and_fields() -> None:
    page = (ROOT / "docs" / "how-to" / "send-to-influxdb.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(releve_\w+)` \| (.*?) \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    listed = [
        (name, tuple(re.findall(r"`(\w+)`", tags)), tuple(re.findall(r"`(\w+)`", fields)))
        for name, tags, fields, _ in rows
    ]
    assert listed == [(one.name, ("account", *one.tags), one.fields) for one in MEASUREMENTS]
