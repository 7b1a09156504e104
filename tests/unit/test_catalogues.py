"""The catalogues hold what is shown and no more; `web/test_texts.py` holds that every text is in every language."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.pages import ROOT

CATALOGUES = sorted((ROOT / "worker" / "locales").glob("*.json"))
TEMPLATES = sorted((ROOT / "worker" / "web" / "templates").glob("*.html"))
# Keys whose last words come from data or from a template's variables, so that no line names them.
BUILT = (
    "app.language.",
    "chart.column.",
    "choose.state.",
    "gas.transport_tariff.",
    "invitation.mail.",
    "joined.offer.",
    "notice.consent_ends.",
    "notice.incident.",
    "operator.audit.kind.",
    "operator.invited.",
    "operator.quota.span.",
    "output.mqtt.",
    "output.statistic.",
    "power.legend.",
    "reading.contract.",
    "register.",
    "registers.text.",
    "removed.",
    "right.fault.",
    "tariff.",
)
# Last words that a function adds to a key that it is given; `.both` is added where electricity and gas are offered.
ADDED = ("one", "other", "title", "text", "subject", "rules", "headline", "advice", "what_to_do", "cause", "go", "both")


@cache
def catalogue(path: Path) -> dict[str, dict[str, str]]:
    texts: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))
    return texts


@cache
def named() -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
    """Return what the code and the templates name: constant texts, and patterns of the texts that are put together."""
    texts, patterns = set[str](), set[str]()
    for path in (ROOT / "worker").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                patterns.add("".join(re.escape(_constant(part)) or "(.+)" for part in node.values))
    for path in TEMPLATES:
        source = path.read_text(encoding="utf-8")
        texts |= set(re.findall(r"'([\w.]+)'", source))
        for before, after in re.findall(r"'([\w.]+\.)' ~ [\w.]+(?: ~ '(\.\w+)')?", source):
            patterns.add(f"{re.escape(before)}(.+){re.escape(after)}")
    keys = [re.compile(pattern) for pattern in sorted(patterns) if re.match(r"[a-z_]+\\\.", pattern)]
    return frozenset(texts), tuple(keys)


def _constant(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else ""


def is_used(key: str) -> bool:
    texts, patterns = named()
    if key in texts or key.startswith(BUILT):
        return True
    found = (match.groups() for pattern in patterns if (match := pattern.fullmatch(key)))
    if any(all(part in texts or all(word in texts for word in part.split(".")) for part in parts) for parts in found):
        return True
    base, _, last = key.rpartition(".")
    return last in ADDED and is_used(base)


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_every_key_is_asked_for(path: Path) -> None:
    assert [key for key in catalogue(path) if not is_used(key)] == []


def test_every_listed_prefix_is_needed() -> None:
    keys = {key for path in CATALOGUES for key in catalogue(path)}
    assert [prefix for prefix in BUILT if not any(key.startswith(prefix) for key in keys)] == []


def test_a_key_that_nothing_asks_for_is_found() -> None:
    assert not is_used("sign_in.forgotten") and not is_used("connect.right_forgotten.title")


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_english_has_typographic_apostrophes_and_quotation_marks(path: Path) -> None:
    assert [key for key, texts in catalogue(path).items() if re.search(r"\w'|'\w|[\"«»]", texts["en"])] == []
