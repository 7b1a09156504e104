"""The texts of checks: the code gives each text its facts, and a message writes these as its language does."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

import worker
from worker.domain.account import AccountState
from worker.domain.incident import IncidentKind
from worker.domain.prices import Colour
from worker.domain.series import Series
from worker.errors import StoreUnavailable, SupplierTooSlow
from worker.texts import Message, load_texts, translate_code, typeset_french

FOLDER = Path(worker.__file__).parent
CHECKS = [*(FOLDER / "ops").glob("*check*.py"), FOLDER / "ops/capacity.py", FOLDER / "ops/liveness.py"]
CATALOGUE: dict[str, dict[str, str]] = json.loads((FOLDER / "locales/checks.json").read_text(encoding="utf-8"))
# The keys that facts complete, as in ``{state:home.state.*}``, with all values of these facts.
COMPLETED: dict[str, Any] = {
    "check.span.*": (1, 12, 24),
    "check.tempo.colour.*": Colour,
    "home.state.*": AccountState,
    "incident.kind.*": IncidentKind,
    "series.*.name": Series,
    "supplier.*": ("enedis", "grdf", "gateway"),
    "supplier.*.of": ("enedis", "grdf", "gateway"),
}
MOMENT = datetime(2026, 12, 1, 7, 30, tzinfo=UTC)


def asked_texts() -> Iterator[tuple[str, set[str]]]:
    """Yield each key that the code of the checks can ask for, with the names of the facts that it gives."""
    for path in CHECKS:
        module = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef)]
        constants = [node for node in module.body if isinstance(node, ast.Assign | ast.AnnAssign)]
        for part in [*functions, *constants]:
            for call in [node for node in ast.walk(part) if isinstance(node, ast.Call)]:
                yield from _asked_by(call, part)


def _asked_by(call: ast.Call, part: ast.AST) -> Iterator[tuple[str, set[str]]]:
    called = {node.id for node in ast.walk(call.func) if isinstance(node, ast.Name)}
    if called & {"ok", "warn", "fail", "judge", "phrase"}:
        for key in _keys(call.args[0], part):
            yield f"check.{key}", {word.arg for word in call.keywords if word.arg}
    elif called == {"Message"} and isinstance(facts := call.args[1], ast.Dict):
        for key in _keys(call.args[0], part):
            yield key, {name.value for name in facts.keys if isinstance(name, ast.Constant)}


def _keys(asked: ast.expr, part: ast.AST) -> Iterator[str]:
    """Yield the keys that an expression can be; a variable is looked up in the function."""
    if isinstance(asked, ast.Name):
        for node in ast.walk(part):
            if isinstance(node, ast.Assign) and asked.id in {
                name.id for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)
            }:
                yield from _keys(node.value, part)
    elif isinstance(asked, ast.JoinedStr):
        made = "".join(re.escape(one.value) if isinstance(one, ast.Constant) else ".+" for one in asked.values)
        found = [key for key in CATALOGUE if re.fullmatch(rf"(check\.)?{made}", key)]
        assert found, made
        yield from (key.removeprefix("check.") for key in found)
    elif isinstance(asked, ast.Constant):
        if isinstance(asked.value, str):
            yield asked.value
    else:
        choices = [asked.body, asked.orelse] if isinstance(asked, ast.IfExp) else ast.iter_child_nodes(asked)
        for child in choices:
            if isinstance(child, ast.expr):
                yield from _keys(child, part)


def test_the_code_gives_each_text_of_a_check_its_facts_and_no_text_is_left_over() -> None:
    asked = set[str]()
    for key, given in asked_texts():
        for text in CATALOGUE[key].values():
            wanted = {name for _, name, _, _ in Formatter().parse(text) if name}
            assert wanted <= given, (key, wanted - given)
        asked.add(key)
    completed = {key.replace("*", str(value)) for key, values in COMPLETED.items() for value in values}
    assert completed <= load_texts().keys()
    assert asked | completed >= CATALOGUE.keys()


def test_a_text_that_a_fact_completes_exists_for_each_value() -> None:
    forms = {
        form for texts in CATALOGUE.values() for text in texts.values() for _, _, form, _ in Formatter().parse(text)
    }
    assert {form for form in forms if form and "*" in form} == COMPLETED.keys()


@pytest.mark.parametrize(
    "message, english, french",
    [
        (
            Message("check.beat.silent", {"silent_s": 847.3}),
            "beat has sent nothing for 847 s: check its log and restart it",
            "beat n’envoie plus rien depuis 14 minutes : consultez son journal et redémarrez-le",
        ),
        (Message("check.ledger", {"path": Path("/x"), "entries": 0}), "/x: 0 entries", "/x : 0 entrée"),
        (Message("check.ledger", {"path": "/x", "entries": 1}), "/x: 1 entries", "/x : 1 entrée"),
        (
            Message("check.ledger", {"path": "/x", "entries": 12_345}),
            "/x: 12345 entries",
            "/x : 12\N{NARROW NO-BREAK SPACE}345 entrées",
        ),
        (
            Message("check.skipped.needs", {"missing": ["redis", "broker"]}),
            "not checked: fix redis and broker first",
            "non vérifié : corrigez d’abord redis et broker",
        ),
        (
            Message("check.workers.unserved", {"queues": ["nightly", "upkeep"]}),
            "messages wait in nightly, upkeep, which no worker serves: start one with -Q nightly,upkeep",
            "des messages attendent dans nightly, upkeep, qu’aucun worker ne traite : "
            "démarrez-en un avec -Q nightly,upkeep",
        ),
        (
            Message("check.incidents.holds", {"kind": "outage", "began_at": MOMENT, "series": ["daily", "load_curve"]}),
            "outage since 2026-12-01 07:30, daily and load_curve: no calls until it is over (`releve incidents`)",
            "panne du fournisseur de données depuis le 1er décembre 2026 à 8\N{NARROW NO-BREAK SPACE}h"
            "\N{NARROW NO-BREAK SPACE}30, Totaux par jour, Courbe par demi-heure : aucun appel jusqu’à la fin de "
            "l’incident (`releve incidents`)",
        ),
        (
            Message(
                "check.tempo.newest",
                {"colour": "red", "day": date(2026, 12, 1), "age": Message("check.tempo.today", {})},
            ),
            "the newest colour is red, of 2026-12-01 (today's)",
            "la couleur la plus récente est rouge, celle du 1er décembre 2026 (aujourd’hui)",
        ),
        (Message("check.told", {"text": StoreUnavailable("Redis is\n down")}), "Redis is down", "Redis is down"),
    ],
    ids=lambda value: value.key if isinstance(value, Message) else "",
)
def test_a_message_writes_its_facts_as_the_language_does(message: Message, english: str, french: str) -> None:
    assert (str(message), message.translate("fr")) == (english, typeset_french(french))


def test_an_error_with_a_code_is_told_in_french_by_what_to_do() -> None:
    message = Message("check.told", {"text": SupplierTooSlow("Enedis is slow")})
    assert str(message) == "Enedis is slow"
    assert message.translate("fr") == translate_code("VENDOR_DOWN.TIMEOUT", "what_to_do", "fr")
