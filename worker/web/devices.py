"""A browser as its person would name it, from its User-Agent."""

from __future__ import annotations

import re
from typing import Final

# The first that matches counts: most browsers also name those that they descend from.
_BROWSERS: Final = (
    ("Firefox", r"Firefox/|FxiOS/"),
    ("Edge", r"Edg(e|A|iOS)?/"),
    ("Opera", r"OPR/|Opera"),
    ("Samsung Internet", r"SamsungBrowser/"),
    ("Chrome", r"Chrome/|CriOS/"),
    ("Safari", r"Safari/"),
)
_SYSTEMS: Final = (
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("Android", r"Android"),
    ("Windows", r"Windows"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("ChromeOS", r"CrOS"),
    ("Linux", r"Linux"),
)


def name_device(user_agent: str) -> str:
    """Return for example ``Firefox, Windows``; an empty text where nothing is recognised."""
    names = (_first(_BROWSERS, user_agent[:500]), _first(_SYSTEMS, user_agent[:500]))
    return ", ".join(name for name in names if name)


def _first(names: tuple[tuple[str, str], ...], text: str) -> str:
    return next((name for name, pattern in names if re.search(pattern, text)), "")
