"""A running service as an outsider sees it: browsers, the command line, the supplier's count."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.support.commands import CommandResult, run_releve
from tests.support.household_browser import HouseholdBrowser, Page
from tests.support.registries import all_rows
from tests.support.system import QUICK_START, System, open_system
from tests.support.waiting import until
from worker.stores.child_processes import free_port

_MORNING: Final = "2024-07-25T09:00+02:00"
_METERS = itertools.count(30001640000011, 11)


def new_meter() -> str:
    """Return a meter that no test has used."""
    return str(next(_METERS))


@dataclass
class Service:
    """A running service, with the browsers of its visitors."""

    system: System
    address: str
    _opened: ExitStack = field(default_factory=ExitStack)

    def browser(self) -> HouseholdBrowser:
        """Return the browser of another person."""
        supplier = self.system.settings["ENEDIS_URL"]
        return self._opened.enter_context(HouseholdBrowser(self.address, supplier))

    def invite(self, *words: str) -> str:
        """Return the link printed by ``releve invite``."""
        link: str = self.system.query("invite", *words)["link"]
        return link

    def connect(self, browser: HouseholdBrowser, meter: str) -> str:
        """Connect a meter as its invited holder, wait until its history is loaded, and return its account."""
        return self.loaded(browser.accept_invitation(self.invite("--usage-point", meter)))

    def loaded(self, page: Page) -> str:
        """Return the account of the page, once its history is loaded."""
        assert page.account, f"{page.status} {page.path} {page.text[-1500:]}"
        self.system.wait_loaded(page.account)
        self.settle()
        return page.account

    def run(self, *words: str, **settings: str) -> CommandResult:
        """Run a command, which may end with any code."""
        return run_releve(self.system.folder, self.system.environment(**settings), *words)

    # -- What an outsider can measure

    def settle(self) -> None:
        """Wait until no message waits or is worked on."""
        # One reading can miss a message that moves between two steps; three readings can't.
        until(lambda: not any(self.system.messages() for _ in range(3)), "an empty queue")

    def accounts(self) -> dict[str, dict[str, Any]]:
        return {row["account"]: row for row in self.system.query_rows("accounts", "list")}

    def calls(self) -> int:
        """Return how many requests the supplier has had, including those of people on its page.

        Requests for the application's own token aren't counted, because they concern no meter.
        """
        report = self.system.report()
        return int(report["calls"] - report["tokens"].get("client_credentials", 0))

    def data_calls(self, meter: str) -> int:
        """Return the number of requests with this meter."""
        return int(self.system.report()["by_usage_point"].get(meter, 0))

    def forget_limits(self) -> None:
        """Delete the counts of starts and tries, as for an attacker with patience or many addresses."""
        for name in ("consent", "invitation", "stranger"):
            for key in self.system.redis.scan_iter(f"releve:limit:{name}:*"):
                self.system.redis.delete(key)

    @contextmanager
    def nothing_changes(self, most_calls: int = 0, but: str = "") -> Iterator[None]:
        """Check that the block changes no row, and causes at most ``most_calls`` calls to the supplier.

        It waits for the work that the block starts. ``but`` is a table that may change.
        """
        self.settle()
        database = self.system.parts.stores.registry.database
        rows, calls = all_rows(database), self.calls()
        yield
        self.settle()
        after = all_rows(database)
        changed = [name for name in rows if rows[name] != after[name] and name != but]
        assert not changed, f"rows changed in {changed}"
        assert self.calls() - calls <= most_calls, "the supplier was called"


@contextmanager
def open_service(folder: Path, generation: str, **settings: str) -> Iterator[Service]:
    """Yield a service of this generation of the supplier's interface; all its processes end with the block."""
    usual = {"PRESET": generation, "PRETEND_NOW": _MORNING, "ENEDIS_CLIENT_SECRET": "s", "HISTORY_LOAD_DAYS": "3"}
    address = f"http://127.0.0.1:{free_port()}"
    with ExitStack() as opened:
        system = opened.enter_context(open_system(folder, PUBLIC_URL=address, **usual, **settings))
        system.serve_simulator()
        system.start_worker(*QUICK_START)
        system.start_web()
        yield Service(system, address, opened)
