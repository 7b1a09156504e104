"""Entries that are stored already with the same value are not written again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.measures.documents import Entry
from worker.domain.measures.filtering import keep_changed, with_stored_revision

entries = st.lists(
    st.builds(Entry, st.sampled_from("abcdef"), st.integers(0, 3), st.sampled_from([None, 15, 60])),
    unique_by=lambda entry: entry.key,
)


def as_stored(changed: list[Entry]) -> dict[str, Entry]:
    return {entry.key: entry._replace(revision="1-x", created_at="born") for entry in changed}


@many
@given(entries, entries)
def test_what_is_kept_makes_the_store_equal_to_the_answer_and_nothing_else_is_touched(
    before: list[Entry], answer: list[Entry]
) -> None:
    stored = as_stored(before)
    changed = keep_changed(answer, stored)
    after = {**stored, **{entry.key: entry for entry in changed}}
    assert {key: after[key][:3] for key in after} == {
        **{entry.key: entry[:3] for entry in before},
        **{entry.key: entry[:3] for entry in answer},
    }
    assert all(entry[:3] != stored[entry.key][:3] for entry in changed if entry.key in stored)


@many
@given(entries)
def test_a_second_time_nothing_is_kept(answer: list[Entry]) -> None:
    assert keep_changed(answer, as_stored(answer)) == []


def test_a_reprocessed_value_replaces_the_very_document_that_was_read() -> None:
    stored = {"2024-05-10": Entry("2024-05-10", 8_000_000, None, "2-b", "born")}
    assert keep_changed([Entry("2024-05-10", 8_640_000)], stored) == [
        Entry("2024-05-10", 8_640_000, None, "2-b", "born", 8_000_000)
    ]


def test_a_step_of_another_length_is_a_change_though_its_energy_is_the_same() -> None:
    stored = {"k": Entry("k", 5, None, "1-a", "born")}
    assert keep_changed([Entry("k", 5, 60)], stored) == [Entry("k", 5, 60, "1-a", "born", 5)]


def test_a_new_entry_replaces_nothing() -> None:
    assert with_stored_revision(Entry("k", 5), None) == Entry("k", 5)
