"""Recordings of real meters and answers, beside the project; they are never copied into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest

RECORDINGS: Final = Path(__file__).resolve().parents[2].parent / "shared" / "data"
RESPONSES: Final = RECORDINGS / "responses"

needs_recordings = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not here")


def load_response(name: str) -> Any:
    """Return the parsed JSON of a recorded answer."""
    return json.loads((RESPONSES / name).read_text(encoding="utf-8"))
