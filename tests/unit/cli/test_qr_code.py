"""The QR code of an authenticator's key, on a terminal (P25)."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest
import segno

from worker.cli.printing import print_qr_code
from worker.domain.sessions import totp_address

ADDRESS = totp_address("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "alice")
COLOURS = re.compile(r"\033\[38;5;231;48;5;16m(.*)\033\[0m")  # White on black, in any theme of a terminal.


class Screen(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def printed(patch: pytest.MonkeyPatch, columns: int = 80, term: str = "xterm", encoding: str = "utf-8") -> list[str]:
    patch.setenv("COLUMNS", str(columns))
    patch.setenv("TERM", term)
    patch.setattr(sys, "stdout", screen := Screen(io.BytesIO(), encoding))
    print_qr_code(ADDRESS)
    screen.seek(0)
    return screen.read().splitlines()


def test_p25_the_code_is_drawn_in_half_blocks_with_its_quiet_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [COLOURS.fullmatch(line) for line in printed(monkeypatch, columns=45)]
    lines = [line[1] for line in drawn if line]
    halves = [[line.translate(str.maketrans("█▀▄ ", half)) for half in ("0011", "0101")] for line in lines]
    matrix = ["".join("1" if dark else "0" for dark in row) for row in segno.make_qr(ADDRESS).matrix_iter(border=4)]
    assert [row for pair in halves for row in pair] == [*matrix, "1" * 45], "the last line is half a line"
    assert len(drawn) == len(lines) == 23, "it fits a terminal of 24 lines, with the question for a code"


@pytest.mark.parametrize("screen", [{"columns": 44}, {"term": "dumb"}, {"encoding": "latin-1"}], ids=str)
def test_p25_a_terminal_that_cannot_show_it_gets_none(monkeypatch: pytest.MonkeyPatch, screen: dict[str, Any]) -> None:
    assert printed(monkeypatch, **screen) == []
