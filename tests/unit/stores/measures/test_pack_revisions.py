"""Compare-and-set for single values that share a pack."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.measures.packing import PackedValue, UnknownPack, unpack_values
from worker.domain.measures.readings import Period
from worker.stores.measures.pack_revisions import ValueWrite, decide_writes, revision_of

DAY = "2024-07-01"
MINUTES = [f"{DAY}T{hour:02}:{minute:02}Z" for hour in range(4, 8) for minute in (0, 30)]
HOURS = [f"{DAY}T{hour:02}:00Z" for hour in range(4, 8)]


def pack_of(*keys: str, energy: int = 500) -> dict[str, Any]:
    fields = decide_writes(
        None, DAY, {Period.MINUTE: [ValueWrite(key, None, PackedValue(energy)) for key in keys]}, "salt"
    ).fields
    assert fields is not None
    return fields


def revisions(fields: dict[str, Any], period: Period = Period.MINUTE) -> dict[str, str]:
    return {key: revision_of(value, fields) for key, value in unpack_values(fields, DAY, period).items()}


def removal_of(fields: dict[str, Any], period: Period) -> dict[Period, list[ValueWrite]]:
    return {period: [ValueWrite(key, revision, None) for key, revision in revisions(fields, period).items()]}


def test_where_a_reading_lost_no_total_of_the_pack_is_written() -> None:
    fields = pack_of(MINUTES[0])
    changes = {
        Period.MINUTE: [ValueWrite(MINUTES[0], None, PackedValue(1)), ValueWrite(MINUTES[1], None, PackedValue(2))],
        Period.HOUR: [ValueWrite(HOURS[0], None, PackedValue(3))],
    }
    outcome = decide_writes(fields, DAY, changes, "x")
    assert outcome.fields is not None
    assert outcome.conflicting == {Period.MINUTE: {MINUTES[0]}, Period.HOUR: {HOURS[0]}}
    assert list(unpack_values(outcome.fields, DAY, Period.MINUTE)) == MINUTES[:2]
    assert unpack_values(outcome.fields, DAY, Period.HOUR) == {}


def test_a_total_that_lost_leaves_the_other_totals_alone() -> None:
    one = decide_writes(None, "2024", {Period.MONTH: [ValueWrite("2024-07", None, PackedValue(1))]}, "x").fields
    changes = {
        Period.DAY: [ValueWrite("2024-07-01", None, PackedValue(1))],
        Period.MONTH: [ValueWrite("2024-07", None, PackedValue(2))],
        Period.YEAR: [ValueWrite("2024", None, PackedValue(2))],
    }
    assert {period: bool(keys) for period, keys in decide_writes(one, "2024", changes, "x").conflicting.items()} == {
        Period.DAY: False,
        Period.MONTH: True,
        Period.YEAR: False,
    }


def test_one_doctype_is_erased_and_the_other_stays() -> None:
    changes = {
        Period.MINUTE: [ValueWrite(MINUTES[0], None, PackedValue(1))],
        Period.HOUR: [ValueWrite(HOURS[0], None, PackedValue(1))],
    }
    fields = decide_writes(None, DAY, changes, "x").fields
    assert fields is not None
    left = decide_writes({**fields, "_rev": "1-a"}, DAY, removal_of(fields, Period.MINUTE), "x").fields
    assert left is not None
    assert unpack_values(left, DAY, Period.MINUTE) == {}
    assert revisions(left, Period.HOUR) == revisions(fields, Period.HOUR)
    # The last value takes the pack with it.
    last = decide_writes(left, DAY, removal_of(left, Period.HOUR), "x")
    assert last.fields == {"_rev": "1-a", "_deleted": True}


@pytest.mark.parametrize("fields", [{"format": 2, "version": 1}, {"format": 1}, {"format": 1, "version": "x"}])
def test_a_pack_that_can_t_be_read_is_not_written_over(fields: dict[str, Any]) -> None:
    with pytest.raises(UnknownPack):
        decide_writes(fields, DAY, {Period.MINUTE: [ValueWrite(MINUTES[0], None, PackedValue(1))]}, "x")


writes = st.lists(
    st.tuples(st.sampled_from(MINUTES), st.booleans(), st.integers(0, 3)),
    min_size=1,
    max_size=4,
    unique_by=lambda w: w[0],
)


@many
@given(st.lists(st.tuples(writes, st.integers(0, 2)), max_size=12))
def test_a_pack_answers_as_a_store_with_a_document_each_would(history: list[tuple[list[Any], int]]) -> None:
    """A model with one counter is the reference; a writer may hold revisions of earlier states."""
    fields: dict[str, Any] | None = None
    model: dict[str, tuple[int, int]] = {}  # The energy and the number of the write.
    states: list[tuple[dict[str, str], dict[str, tuple[int, int]]]] = [({}, {})]
    for number, (writes_now, age) in enumerate(history):
        held_revisions, known = states[max(0, len(states) - 1 - age)]
        changes = [
            ValueWrite(key, held_revisions.get(key) if replace else None, PackedValue(energy))
            for key, replace, energy in writes_now
        ]
        outcome = decide_writes(fields, DAY, {Period.MINUTE: changes}, "salt")
        expected = {
            key
            for key, replace, _ in writes_now
            if (known.get(key, (0, -1))[1] if replace else -1) == model.get(key, (0, -1))[1]
        }
        assert outcome.conflicting[Period.MINUTE] == {key for key, _, _ in writes_now} - expected
        model |= {key: (energy, number) for key, _, energy in writes_now if key in expected}
        fields = outcome.fields or fields
        if fields is not None:
            values = unpack_values(fields, DAY, Period.MINUTE)
            assert {key: value.milliwatt_hours for key, value in values.items()} == {
                key: energy for key, (energy, _) in model.items()
            }
            states.append((revisions(fields), dict(model)))
