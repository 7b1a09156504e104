"""Compare-and-set on values that share a document."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.measures.packing import UnknownPack, Value, unpack_shelf
from worker.domain.measures.readings import Period, Series
from worker.stores.measures.pack_revisions import ValueWrite, decide, revision_of, without

DAY = "2024-07-01"
MINUTES = [f"{DAY}T{hour:02}:{minute:02}Z" for hour in range(4, 8) for minute in (0, 30)]
HOURS = [f"{DAY}T{hour:02}:00Z" for hour in range(4, 8)]


def made(*keys: str, energy: int = 500) -> dict[str, Any]:
    fields = decide(None, DAY, {Period.MINUTE: [ValueWrite(key, None, Value(energy)) for key in keys]}, "salt").fields
    assert fields is not None
    return fields


def revisions(fields: dict[str, Any], period: Period = Period.MINUTE) -> dict[str, str]:
    return {key: revision_of(value, fields) for key, value in unpack_shelf(fields, DAY, period).items()}


def test_values_are_created_once() -> None:
    fields = made(MINUTES[0])
    again = decide(fields, DAY, {Period.MINUTE: [ValueWrite(MINUTES[0], None, Value(1))]}, "other")
    assert (again.fields, again.lost) == (None, {Period.MINUTE: {MINUTES[0]}})


def test_who_changed_other_values_of_the_pack_does_no_harm() -> None:
    fields = made(*MINUTES[:2])
    before = revisions(fields)
    first = decide(fields, DAY, {Period.MINUTE: [ValueWrite(MINUTES[0], before[MINUTES[0]], Value(7))]}, "x").fields
    assert first is not None
    second = decide(first, DAY, {Period.MINUTE: [ValueWrite(MINUTES[1], before[MINUTES[1]], Value(8))]}, "x")
    assert second.fields is not None and not any(second.lost.values())
    energies = {key: value.milliwatt_hours for key, value in unpack_shelf(second.fields, DAY, Period.MINUTE).items()}
    assert energies == {MINUTES[0]: 7, MINUTES[1]: 8}


def test_a_value_written_again_as_it_was_has_a_new_revision() -> None:
    fields = made(MINUTES[0])
    before = revisions(fields)
    after = decide(fields, DAY, {Period.MINUTE: [ValueWrite(MINUTES[0], before[MINUTES[0]], Value(500))]}, "x").fields
    assert after is not None
    assert revisions(after) != before
    assert (
        decide(after, DAY, {Period.MINUTE: [ValueWrite(MINUTES[0], before[MINUTES[0]], Value(9))]}, "x").fields is None
    )


def test_where_a_reading_lost_no_total_of_the_pack_is_written() -> None:
    fields = made(MINUTES[0])
    changes = {
        Period.MINUTE: [ValueWrite(MINUTES[0], None, Value(1)), ValueWrite(MINUTES[1], None, Value(2))],
        Period.HOUR: [ValueWrite(HOURS[0], None, Value(3))],
    }
    outcome = decide(fields, DAY, changes, "x")
    assert outcome.fields is not None
    assert outcome.lost == {Period.MINUTE: {MINUTES[0]}, Period.HOUR: {HOURS[0]}}
    assert list(unpack_shelf(outcome.fields, DAY, Period.MINUTE)) == MINUTES[:2]
    assert unpack_shelf(outcome.fields, DAY, Period.HOUR) == {}


def test_a_total_that_lost_leaves_the_other_totals_alone() -> None:
    one = decide(None, "2024", {Period.MONTH: [ValueWrite("2024-07", None, Value(1))]}, "x").fields
    changes = {
        Period.DAY: [ValueWrite("2024-07-01", None, Value(1))],
        Period.MONTH: [ValueWrite("2024-07", None, Value(2))],
        Period.YEAR: [ValueWrite("2024", None, Value(2))],
    }
    assert {period: bool(keys) for period, keys in decide(one, "2024", changes, "x").lost.items()} == {
        Period.DAY: False,
        Period.MONTH: True,
        Period.YEAR: False,
    }


def test_one_doctype_is_erased_and_the_other_stays() -> None:
    changes = {
        Period.MINUTE: [ValueWrite(MINUTES[0], None, Value(1))],
        Period.HOUR: [ValueWrite(HOURS[0], None, Value(1))],
    }
    fields = decide(None, DAY, changes, "x").fields
    assert fields is not None
    left, erased = without(fields, DAY, Period.MINUTE, Series.LOAD_CURVE)
    assert erased == 1 and left is not None
    assert unpack_shelf(left, DAY, Period.MINUTE) == {}
    assert revisions(left, Period.HOUR) == revisions(fields, Period.HOUR)
    assert without(left, DAY, Period.HOUR, Series.LOAD_CURVE) == (None, 1)


def test_what_comes_after_an_erasure_has_no_revision_of_before() -> None:
    changes = {
        Period.MINUTE: [ValueWrite(MINUTES[0], None, Value(1))],
        Period.HOUR: [ValueWrite(HOURS[0], None, Value(1))],
    }
    fields = decide(None, DAY, changes, "x").fields
    assert fields is not None
    left, _ = without(fields, DAY, Period.MINUTE, Series.LOAD_CURVE)
    anew = decide(left, DAY, {Period.MINUTE: changes[Period.MINUTE]}, "y").fields
    assert anew is not None
    assert revisions(anew) != revisions(fields)


@pytest.mark.parametrize("fields", [{"format": 2, "version": 1}, {"format": 1}, {"format": 1, "version": "x"}])
def test_a_pack_that_can_t_be_read_is_not_written_over(fields: dict[str, Any]) -> None:
    with pytest.raises(UnknownPack):
        decide(fields, DAY, {Period.MINUTE: [ValueWrite(MINUTES[0], None, Value(1))]}, "x")


writes = st.lists(
    st.tuples(st.sampled_from(MINUTES), st.booleans(), st.integers(0, 3)),
    min_size=1,
    max_size=4,
    unique_by=lambda w: w[0],
)


@many
@given(st.lists(st.tuples(writes, st.integers(0, 2)), max_size=12))
def test_a_pack_answers_as_a_store_with_a_document_each_would(history: list[tuple[list[Any], int]]) -> None:
    """Against a model with one counter; a writer may hold revisions of some states ago."""
    fields: dict[str, Any] | None = None
    model: dict[str, tuple[int, int]] = {}  # energy, number of the write
    seen: list[tuple[dict[str, str], dict[str, tuple[int, int]]]] = [({}, {})]
    for number, (wanted, age) in enumerate(history):
        told, known = seen[max(0, len(seen) - 1 - age)]
        changes = [
            ValueWrite(key, told.get(key) if replace else None, Value(energy)) for key, replace, energy in wanted
        ]
        outcome = decide(fields, DAY, {Period.MINUTE: changes}, "salt")
        expected = {
            key
            for key, replace, _ in wanted
            if (known.get(key, (0, -1))[1] if replace else -1) == model.get(key, (0, -1))[1]
        }
        assert outcome.lost[Period.MINUTE] == {key for key, _, _ in wanted} - expected
        model |= {key: (energy, number) for key, _, energy in wanted if key in expected}
        fields = outcome.fields or fields
        if fields is not None:
            shelf = unpack_shelf(fields, DAY, Period.MINUTE)
            assert {key: value.milliwatt_hours for key, value in shelf.items()} == {
                key: energy for key, (energy, _) in model.items()
            }
            seen.append((revisions(fields), dict(model)))
