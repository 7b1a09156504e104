"""Compare-and-set for single values that share a pack."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.packing import PackedValue, UnknownPack, unpack_values
from worker.domain.series import Doctype
from worker.stores.measures.packed import ValueWrite, decide_writes, revision_of

DAY = "2024-07-01"
MINUTES = [f"{DAY}T{hour:02}:{minute:02}Z" for hour in range(4, 8) for minute in (0, 30)]


@pytest.mark.parametrize("fields", [{"format": 2, "version": 1}, {"format": 1}, {"format": 1, "version": "x"}])
def test_a_pack_that_can_t_be_read_is_not_written_over(fields: dict[str, Any]) -> None:
    with pytest.raises(UnknownPack):
        decide_writes(fields, DAY, {Doctype.MINUTE: [ValueWrite(MINUTES[0], None, PackedValue(1))]}, "x")


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
        outcome = decide_writes(fields, DAY, {Doctype.MINUTE: changes}, "salt")
        expected = {
            key
            for key, replace, _ in writes_now
            if (known.get(key, (0, -1))[1] if replace else -1) == model.get(key, (0, -1))[1]
        }
        assert outcome.conflicting[Doctype.MINUTE] == {key for key, _, _ in writes_now} - expected
        model |= {key: (energy, number) for key, _, energy in writes_now if key in expected}
        fields = outcome.fields or fields
        if fields is not None:
            values = unpack_values(fields, DAY, Doctype.MINUTE)
            assert {key: value.amount for key, value in values.items()} == {
                key: energy for key, (energy, _) in model.items()
            }
            revisions = {key: revision_of(value, fields) for key, value in values.items()}
            states.append((revisions, dict(model)))
