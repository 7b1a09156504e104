"""Entries less those that are stored already with the same value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from worker.domain.measures.documents import Entry


def keep_changed(entries: Iterable[Entry], stored: Mapping[str, Entry]) -> list[Entry]:
    """The new ones, and the changed ones with the revision they replace (K3).

    Values are compared, not keys alone: a value that the supplier reprocessed must come in.
    """
    return [
        replacing(entry, stored.get(entry.key)) for entry in entries if not _same_value(entry, stored.get(entry.key))
    ]


def replacing(entry: Entry, known: Entry | None) -> Entry:
    """``entry`` with the revision and birth of the stored one it stands for."""
    if known is None:
        return entry
    return entry._replace(revision=known.revision, created_at=known.created_at, was=known.milliwatt_hours)


def _same_value(entry: Entry, known: Entry | None) -> bool:
    return known is not None and (entry.milliwatt_hours, entry.step) == (known.milliwatt_hours, known.step)
