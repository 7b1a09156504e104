"""The records of GRDF's answers: their names as they are meant, the words in them, and what a record says of itself.

GRDF has misspelt one of its own names with a colon at its end (``"perim_donnees_techniques:"``), so blanks and colons
there are no part of any name. Its words come with accents and without, in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.parsing.values import parse_text, to_plain

_ABSENT: Final = "absence de donnees"
_QUALITIES: Final = {"mesure": "measured", "estime": "estimated", "corrige": "corrected"}
_STATES: Final = {
    "provisoire": "provisional",
    "definitive": "final",
    "definitif": "final",
}
KNOWN_QUALITIES: Final = frozenset({*_QUALITIES, _ABSENT})
KNOWN_STATES: Final = frozenset(_STATES)


def clean_names(record: Json) -> Mapping[str, Json]:
    """Return the fields of a record by their names without what a typing error has added; empty if it is no object."""
    if not isinstance(record, dict):
        return {}
    # A name that is right as it stands wins over a misspelt one.
    return {name.rstrip(": "): value for name, value in sorted(record.items(), key=lambda field: -len(field[0]))}


def object_of(fields: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    """Return the object of this name; empty where there is none."""
    return clean_names(fields.get(name))


def is_absent(quality: Json) -> bool:
    """Return whether the word says that there is no reading."""
    return to_plain(parse_text(quality) or "") == _ABSENT


def translate_quality(raw: Json) -> str | None:
    """Return ``measured``, ``estimated`` or ``corrected``; an unknown word in lower case."""
    return _translate(raw, _QUALITIES)


def translate_status(raw: Json) -> str | None:
    """Return ``provisional`` or ``final``; an unknown word in lower case."""
    return _translate(raw, _STATES)


def _translate(raw: Json, words: Mapping[str, str]) -> str | None:
    text = parse_text(raw)
    return None if text is None else words.get(to_plain(text), text.lower())
