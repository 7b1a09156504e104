"""The filter that drops entries already stored with the same value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from worker.domain.measures.documents import Entry


def keep_changed(entries: Iterable[Entry], stored: Mapping[str, Entry]) -> list[Entry]:
    """Return the new entries, and the changed entries with the revision that they replace.

    Values are compared and not only keys, because a value that the supplier corrected must be stored.
    """
    return [
        with_stored_revision(entry, stored.get(entry.key))
        for entry in entries
        if not _same_value(entry, stored.get(entry.key))
    ]


def with_stored_revision(entry: Entry, known: Entry | None) -> Entry:
    """Return ``entry`` with the revision, creation time and energy of the stored entry that it replaces."""
    if known is None:
        return entry
    return entry._replace(
        revision=known.revision, created_at=known.created_at, replaced_milliwatt_hours=known.milliwatt_hours
    )


def _same_value(entry: Entry, known: Entry | None) -> bool:
    return known is not None and (entry.milliwatt_hours, entry.step) == (known.milliwatt_hours, known.step)
