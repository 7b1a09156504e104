"""A running service of one generation as an outsider sees it: browsers, the command line, the supplier's count."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import requests

from tests.support.commands import CommandResult, run_releve
from tests.support.household_browser import HouseholdBrowser, Page
from tests.support.registries import all_rows
from tests.support.system import QUICK_START, System, open_system
from tests.support.waiting import until
from worker.stores.redis.child_processes import free_port

V4, V5, V2026 = "enedis-v4", "enedis-v5", "enedis-2026"
GENERATIONS: Final = (V4, V5, V2026)
MORNING: Final = "2024-07-25T09:00+02:00"
UNKNOWN_ID: Final = "987654321"  # Of a consent (2026): the simulator counts from 900001.
ALL_SCOPES: Final = ("read:accounts", "read:measures", "write:accounts", "erase:accounts")
_METERS = itertools.count(30001640000011, 11)


def new_meter() -> str:
    """Return a meter that no test has used."""
    return str(next(_METERS))


class ProgramView(requests.Session):
    """A program with an API token, as it calls the service at ``address``."""

    def __init__(self, address: str, token: str) -> None:
        super().__init__()
        self.trust_env = False
        self._address = address
        self.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, dict[str, str], str]:
        """Call the API and return status, headers and body: all that two answers can be told apart by."""
        answer = self.request(method, f"{self._address}/api{path}", json=body, timeout=60)
        headers = {name.lower(): value for name, value in answer.headers.items() if name.lower() != "date"}
        return answer.status_code, headers, answer.text

    def ids(self, kind: str) -> set[str]:
        """Return the ids in a list of ``accounts`` or ``invitations``, page by page."""
        path, found = f"/{kind}?limit=1", set()
        while path:
            page = json.loads(self.ask("GET", path)[2])
            found |= {row[kind.removesuffix("s")] for row in page[kind]}
            path = (page["next"] or "").removeprefix("/api")
        return found

    def add(self, meter: str) -> str:
        status, _, text = self.ask("POST", "/accounts", {"usage_point": meter, "consented_on": "2024-07-25"})
        assert status == 201, text
        return str(json.loads(text)["account"])


@dataclass
class Service:
    """A running service of one generation, with the browsers of its visitors."""

    system: System
    generation: str
    address: str
    _opened: ExitStack = field(default_factory=ExitStack)

    def browser(self) -> HouseholdBrowser:
        """Return the browser of another person."""
        supplier = self.system.settings["ENEDIS_URL"]
        return self._opened.enter_context(HouseholdBrowser(self.address, supplier))

    def invite(self, *words: str) -> str:
        """Return the link that ``releve invite`` prints."""
        link: str = self.system.query("invite", *words)["link"]
        return link

    def connect(self, browser: HouseholdBrowser, meter: str) -> str:
        """Connect a meter as its holder does, wait until its history is there, and return its account.

        The token answer of v4 names the meter, so no invitation is needed there.
        """
        if self.generation == V4:
            page = browser.connect(meter)
        else:
            page = browser.accept_invitation(self.invite("--usage-point", meter))
        return self.loaded(page)

    def loaded(self, page: Page) -> str:
        """Return the account of the page, once its history is there."""
        assert page.account, f"{page.status} {page.path} {page.text[-1500:]}"
        self.system.wait_loaded(page.account)
        self.settle()
        return page.account

    def program(self, tenant: str = "default", *scopes: str) -> ProgramView:
        """Return a program of a tenant, with a token of these scopes or of all."""
        if tenant != "default":
            self.system.releve("tenants", "set", tenant, "--title", tenant.title())
        words = ("--scope", ",".join(scopes or ALL_SCOPES), "--tenant", tenant)
        token = self.system.query("tokens", "new", "--name", tenant, *words)["token"]
        return self._opened.enter_context(ProgramView(self.address, token))

    def typed_about(self, meter: str, consent: str | None = None) -> dict[str, str]:
        """Return what a person types who wants this meter; ``consent``: its id in 2026, which is as easily guessed."""
        if self.generation == V2026:
            return {"autorisation_id": consent or UNKNOWN_ID}
        return {"code": "a-code-that-was-made-up", "usage_point_id": meter}

    def run(self, *words: str, **settings: str) -> CommandResult:
        """Run a command, which may end with any code."""
        return run_releve(self.system.folder, self.system.environment(**settings), *words)

    # -- What an outsider can measure

    def settle(self) -> None:
        """Wait until no message waits or is worked on."""
        # A message that goes from one step to the next can be missed by one reading, not by three.
        until(lambda: not any(self.system.messages() for _ in range(3)), "an empty queue")

    def accounts(self) -> dict[str, dict[str, Any]]:
        return {row["account"]: row for row in self.system.query_rows("accounts", "list")}

    def calls(self) -> int:
        """Return how many requests the supplier has had, those of people on its page among them.

        The application's own token is not counted: it is about nobody.
        """
        report = self.system.report()
        return int(report["calls"] - report["tokens"].get("client_credentials", 0))

    def data_calls(self, meter: str) -> int:
        """Return how many requests have named this meter."""
        return int(self.system.report()["by_usage_point"].get(meter, 0))

    def registry(self) -> dict[str, list[str]]:
        """Return all rows of the registry."""
        return all_rows(self.system.runtime.registry.database)

    def forget_limits(self) -> None:
        """Delete the counts of starts and tries: an attacker has patience, or many addresses."""
        for name in ("consent", "invitation", "stranger"):
            for key in self.system.redis.scan_iter(f"releve:limit:{name}:*"):
                self.system.redis.delete(key)

    @contextmanager
    def nothing_changes(self, most_calls: int = 0, but: str = "") -> Iterator[None]:
        """Check that the block changes no row, and costs the supplier at most so many calls.

        Work that it starts is waited for.  ``but`` is a table that may change.
        """
        self.settle()
        accounts, rows, calls = set(self.accounts()), self.registry(), self.calls()
        yield
        self.settle()
        assert set(self.accounts()) == accounts, "an account was made"
        after = self.registry()
        changed = [name for name in rows if rows[name] != after[name] and name != but]
        assert not changed, f"rows changed in {changed}"
        assert self.calls() - calls <= most_calls, "the supplier was called"

    @property
    def most_calls(self) -> int:
        """How often one callback without a proof may lead to a call: a code of v4 may be a proof."""
        return 1 if self.generation == V4 else 0


@contextmanager
def open_service(folder: Path, generation: str, **settings: str) -> Iterator[Service]:
    usual = {"PRESET": generation, "PRETEND_NOW": MORNING, "ENEDIS_CLIENT_SECRET": "s", "HISTORY_LOAD_DAYS": "3"}
    address = f"http://127.0.0.1:{free_port()}"
    with ExitStack() as opened:
        system = opened.enter_context(open_system(folder, PUBLIC_URL=address, **usual, **settings))
        system.start_simulator()
        system.start_worker(*QUICK_START)
        system.start_web()
        yield Service(system, generation, address, opened)
