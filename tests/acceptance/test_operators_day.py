"""An operator's first day, from the installation's first line: made, signed in with a code, invited, logged out.

Each part is a process of its own; the operator types at a terminal and uses a browser behind the reverse proxy.
"""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import sys
from pathlib import Path

import pyotp
import pytest
import requests

from tests.support.household_pages import csrf_of
from tests.support.operators import ELSEWHERE
from tests.support.system import BIN, ROOT, System, open_system, until
from tests.support.waiting import DEADLINE_S
from worker.stores.child_processes import free_port

PASSWORD = "marmotte vapeur tuile 12"
FIRST_LINE = "there is no operator yet: add one with `releve access add-operator NAME`, who then signs in at /operator"
OLD_PASSWORD = (
    "RELEVE_OPERATOR_PASSWORD has no effect any more: operators have names: add one with "
    "`releve access add-operator NAME`"
)


class Terminal:
    """A command at a terminal, as a person sees it; ``shown`` is all that was printed."""

    def __init__(self, system: System, *words: str) -> None:
        pid, self._terminal = pty.fork()
        if pid == 0:
            os.execve(
                BIN / "releve",
                ["releve", *words],
                {**os.environ, **system.environment(), "PYTHONPATH": str(ROOT), "TERM": "xterm"},
            )
        self._pid, self.shown, self._decode = pid, "", codecs.getincrementaldecoder("utf-8")().decode

    def wait_for(self, words: str) -> None:
        while words not in self.shown:
            assert self._read(), self.shown

    def type(self, text: str) -> None:
        os.write(self._terminal, f"{text}\n".encode())

    def wait_for_end(self) -> int:
        while self._read():
            pass
        os.close(self._terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])

    def _read(self) -> bool:
        ready, _, _ = select.select([self._terminal], [], [], 60)
        assert ready, f"nothing more within a minute: {self.shown}"
        try:
            printed = os.read(self._terminal, 4096)
        except OSError:  # Linux's way to say that the other side is closed.
            return False
        self.shown += self._decode(printed)
        return bool(printed)


class Browser:
    """A browser elsewhere: what it sends comes through the reverse proxy on this host."""

    def __init__(self, address: str) -> None:
        self._address, self._session = address, requests.Session()
        self._session.headers.update({"X-Forwarded-For": ELSEWHERE, "Accept-Language": "en"})

    def get(self, path: str) -> requests.Response:
        return self._session.get(self._address + path, timeout=DEADLINE_S)

    def submit(self, path: str, page: str = "/operator", **form: str) -> requests.Response:
        csrf = csrf_of(self.get(page).text)
        return self._session.post(
            self._address + path, {"csrf": csrf, **form}, timeout=DEADLINE_S, allow_redirects=False
        )

    def copy(self) -> Browser:
        other = Browser(self._address)
        other._session.cookies.update(self._session.cookies)
        return other


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of Unix")
def test_an_operators_first_day(tmp_path: Path) -> None:
    with open_system(tmp_path, PUBLIC_URL=f"http://127.0.0.1:{free_port()}", OPERATOR_PASSWORD="a") as system:
        address = system.start_web()
        until(lambda: FIRST_LINE in system.logs(), "the line that says how to make the first operator")
        assert OLD_PASSWORD in system.logs()
        operator = Browser(address)
        closed = operator.get("/operator")
        assert closed.status_code == 404 and "releve access add-operator NAME" in closed.text

        del system.settings["OPERATOR_PASSWORD"]
        terminal = Terminal(system, "access", "add-operator", "alice")
        terminal.wait_for("password")
        terminal.type("a")
        terminal.wait_for("Repeat")
        terminal.type("a")
        assert terminal.wait_for_end() == 1 and "12 characters or more" in terminal.shown

        terminal = Terminal(system, "access", "add-operator", "alice")
        terminal.wait_for("password")
        terminal.type(PASSWORD)
        terminal.wait_for("Repeat")
        terminal.type(PASSWORD)
        terminal.wait_for("code that the app shows now")
        key = re.search(r"key +([A-Z2-7]{32})", terminal.shown)
        assert key and PASSWORD not in terminal.shown and "████ ▄▄▄▄▄ █" in terminal.shown, "the corner of a QR code"
        app = pyotp.TOTP(key[1])
        terminal.type(app.now())
        assert terminal.wait_for_end() == 0 and "operator alice can sign in at /operator" in terminal.shown

        signing_in = {"name": "alice", "password": PASSWORD}
        assert operator.submit("/operator/login", **signing_in, code="000000").status_code == 403
        assert operator.submit("/operator/login", **signing_in, code=app.now()).status_code == 303
        assert "State of the fleet" in operator.get("/operator").text
        assert "You are signed in as alice" in operator.get("/operator/access").text
        invited = operator.submit("/operator/invitations", whom="30001640000022")
        assert invited.status_code == 200 and "/invitation#invite_" in invited.text
        assert [row["created_by"] for row in system.query_rows("consents", "--invitations")] == ["operator alice"]

        copied = operator.copy()
        assert "You are signed in as alice" in copied.get("/operator/access").text
        assert operator.submit("/operator/logout").status_code == 303
        for browser in (operator, copied):
            assert "You are signed in as alice" not in browser.get("/operator/access").text
        assert PASSWORD not in system.logs() and key[1] not in system.logs()
        system.kill("web")
        system.start_web()
        assert system.logs().count(FIRST_LINE) == 1, "said once: there is an operator now"
