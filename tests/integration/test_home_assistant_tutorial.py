"""The tutorial's words, typed: from an installation with readings to a filled energy dashboard."""

from __future__ import annotations

import re
import shlex
from datetime import date
from io import StringIO

import pytest

from tests.support.factories import NOW
from tests.support.home_assistant_server import TOKEN, home_assistant_server
from tests.support.installation import Installation
from tests.support.pages import ROOT
from tests.support.parts import Parts
from tests.support.registries import METER, add_ready
from worker.domain.documents import Entry, to_document
from worker.domain.messages import ChangedPart
from worker.domain.series import Doctype, Series
from worker.domain.windows import local_midnight

pytestmark = pytest.mark.rest

PAGES = [ROOT / "docs" / "tutorial" / name for name in ("home-assistant.md", "home-assistant.fr.md")]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def store(parts: Parts, account: str, kwh: dict[str, int]) -> None:
    """Store daily values as a window does."""
    starts = [local_midnight(date.fromisoformat(day)) for day in kwh]
    with parts.stores.registry.outbox.noting(account, Series.DAILY) as note:
        note(ChangedPart(min(starts), max(starts)))
        known = {row["_id"].partition(":")[2]: row for row in read_days(parts, account)}
        entries = [
            Entry(day, 1_000_000 * value, revision=known[day]["_rev"] if day in known else None)
            for day, value in kwh.items()
        ]
        parts.stores.measures.write({Doctype.DAY: [to_document(account, Doctype.DAY, entry, NOW) for entry in entries]})


def read_days(parts: Parts, account: str) -> list[dict[str, object]]:
    return parts.stores.measures.read(account, {Doctype.DAY: ("0", "~")})[Doctype.DAY]


def test_both_languages_have_the_same_commands_and_lines() -> None:
    lines = re.compile(r"^    [^\n]+$|```[^`]*`[^`]*`[^`]*```|^\| `[^|]*\|", re.MULTILINE)
    english, french = (lines.findall(page.read_text(encoding="utf-8")) for page in PAGES)
    assert english == french and len(english) > 12


def test_the_tutorial_fills_the_dashboard(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGES[0].read_text(encoding="utf-8")
    (command,) = re.findall(r"^    releve (.+)$", text, re.MULTILINE)
    shown = re.findall(r"```\n(.*?)```", text, re.DOTALL)[0]
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("click.termui.hidden_prompt_func", lambda prompt: TOKEN)
    with installation.open() as parts:
        account = add_ready(parts.stores.registry, METER)
        store(parts, account, {"2024-07-20": 8, "2024-07-21": 9, "2024-07-22": 10})

    with home_assistant_server() as server, installation.open() as parts:
        words = shlex.split(command.replace("http://homeassistant.local:8123", server.url))
        said = installation.releve(*words).out
        output = re.findall(r"output (\w+) ", said)[0]
        assert said.splitlines()[0] == shown.splitlines()[0].replace("5f0c2d9a7be14c3f8a61", output)
        assert re.sub(r"\d+ series", "1 series", said.splitlines()[1]) == shown.splitlines()[1]
        parts.outputs.deliver(output)
        before = server.changes_by_day(f"releve:{account}_consumption")
        store(parts, account, {"2024-07-20": 11})
        parts.outputs.deliver(output)
        after = server.changes_by_day(f"releve:{account}_consumption")

    assert before == {"2024-07-20": 8, "2024-07-21": 9, "2024-07-22": 10}
    assert after == {"2024-07-20": 11, "2024-07-21": 9, "2024-07-22": 10}
    assert max(row.sum or 0 for row in server.rows[f"releve:{account}_consumption"].values()) == 30


def test_each_line_that_the_tutorial_explains_is_one_that_relève_says() -> None:
    source = "".join(
        (ROOT / "worker" / path).read_text(encoding="utf-8")
        for path in ("outputs/home_assistant_socket.py", "clients/http_calls.py")
    )
    for line in re.findall(
        r"^\| `([^`]+)` \|", PAGES[0].read_text(encoding="utf-8").split("## Troubleshooting")[1], re.MULTILINE
    ):
        assert all(part.strip() in source for part in line.split("…")), line
