"""A running service with gas: households that declare rights, the pretend GRDF and its clock, and what the worker does.

Nothing waits for a time: the clock of the simulator is moved on, and each task is waited for by its id.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
from sqlalchemy import select

from drill.expected_documents import count_wrong_details, fetch_truth, find_differences, read_stored
from tests.support.household_browser import HouseholdBrowser
from tests.support.household_pages import csrf_of
from tests.support.registries import all_rows
from tests.support.system import NO_QUOTA, QUICK_START, System, open_system
from tests.support.waiting import until
from worker.domain.access_right import Right
from worker.domain.account import Account
from worker.domain.notice import Notice
from worker.domain.series import Series, daily_of
from worker.stores.child_processes import free_port
from worker.stores.registry.key_rotation import TEXT_SEALS
from worker.stores.registry.notices import NOTICE_QUERY

GAS: Final = "grdf"
DAILY: Final = daily_of(supplier=GAS)
_STATE: Final = "/connect/right/state"
_TYPED: Final = {"name": "Durand-Okonkwo", "email": "durand.okonkwo@example.org", "consent": "yes"}
# One minute past a quarter: GRDF's e-mail goes out at the next one.
_MORNING: Final = "2024-07-25T09:01+02:00"
_TO_THE_ANSWER_S: Final = 17 * 60  # From any moment past the next e-mail and the minute in which the holder answers it.
_WORKING: Final = "2"  # The seconds after which the page comes again while a task asks the supplier.
_SEALED: Final = re.compile(r"AgAAAA[A-Za-z0-9_=-]{50,}")
_NUMBERS: Final = itertools.count(21546000001017, 11)


@dataclass
class RightsService:
    """The service at ``address``, and GRDF, which is the simulator's."""

    system: System
    address: str
    worker_log: Path
    _opened: ExitStack = field(default_factory=ExitStack)

    # -- GRDF

    def meter(self) -> str:
        """Return a gas meter with daily values that no test has used."""
        meter = str(next(_NUMBERS))
        self.grdf("POST", f"meters/{meter}", {"frequency": "1M"})
        return meter

    def grdf(self, method: str, path: str, body: Any = None) -> Any:
        return self.system.simulator(method, f"gas/{path}", body)

    def postcode(self, meter: str) -> str:
        return str(self.grdf("GET", f"meters/{meter}")["postcode"])

    def change_right(self, meter: str, do: str, **fields: Any) -> dict[str, Any]:
        """Let something happen at GRDF to the newest right of a meter, and return the right."""
        right: dict[str, Any] = self.grdf("POST", f"rights/{meter}", {"do": do, **fields})
        return right

    def right_at_grdf(self, meter: str) -> dict[str, Any]:
        right: dict[str, Any] = self.grdf("GET", f"rights/{meter}")
        return right

    def let_holders_answer(self) -> None:
        """Move the supplier's clock past its next e-mail, and past the answers of the holders."""
        self.system.simulator("POST", "clock", {"advance_s": _TO_THE_ANSWER_S})

    def data_calls(self, meter: str) -> int:
        """Return how many requests have named a meter in their path."""
        return int(self.grdf("GET", "report")["by_usage_point"].get(meter, 0))

    # -- Households

    def browser(self) -> HouseholdBrowser:
        """Return the browser of another person."""
        return self._opened.enter_context(HouseholdBrowser(self.address, self.system.settings["ENEDIS_URL"]))

    def invite(self, browser: HouseholdBrowser, *words: str) -> str:
        """Let a browser open a new invitation, and return the address of the form to which that leads."""
        link = self.system.query("invite", *words)["link"]
        answer = browser.open_invitation(link)
        assert answer.status_code == 303, answer.text[-1500:]
        return urlsplit(answer.headers["Location"]).path

    def declare(self, browser: HouseholdBrowser, meter: str) -> requests.Response:
        """Fill the form of an invitation for the meter, and return the page with the result."""
        path = self.invite(browser, "--pce", meter)
        form = {**_TYPED, "postcode": self.postcode(meter), "csrf": csrf_of(browser.get(path).text)}
        answer = browser.submit(path, **form)
        assert answer.headers.get("Location") == _STATE, f"{answer.status_code} {answer.text[-1500:]}"
        return self.state(browser)

    def state(self, browser: HouseholdBrowser, path: str = _STATE) -> requests.Response:
        """Return the page with the result of a browser's declaration, once no task works on it."""

        def load() -> list[requests.Response]:
            answer = browser.get(path)
            while answer.is_redirect:
                answer = browser.get(urlsplit(urljoin(answer.url, answer.headers["Location"])).path)
            return [answer] if answer.headers.get("Refresh") != _WORKING else []  # A refusal is false by itself.

        answers: list[requests.Response] = until(load, f"an outcome at {path}")
        return answers[0]

    def account_of(self, meter: str) -> Account | None:
        return self.system.parts.stores.registry.accounts.find(GAS, meter)

    def account(self, meter: str) -> Account:
        account = self.account_of(meter)
        assert account is not None, "no account has this meter"
        return account

    def right(self, meter: str) -> Right:
        """Return the newest right of a meter in our registry."""
        return self.system.parts.stores.registry.rights.of_meter(GAS, meter)[0]

    # -- The worker

    def run_task(self, task: str, *args: Any) -> None:
        """Let the worker run a task, and wait until it has ended well."""
        task_id = self.system.publisher.send_task(task, args=args).id
        until(lambda: f"{task}[{task_id}] succeeded" in self.worker_log.read_text(), task)

    def sweep(self, *, pending_only: bool = False) -> None:
        """Let the worker check all rights, as it does once a day, or those that wait, as each quarter of an hour."""
        self.run_task("tasks.consent.check_rights", pending_only)

    def settle(self) -> None:
        """Wait until no message waits or is worked on."""
        until(lambda: not any(self.system.messages() for _ in range(3)), "an empty queue")

    def wait_loaded(self, meter: str) -> None:
        """Wait until the history of a meter's account is there, of all its series."""
        account, outcomes = self.account(meter), self.system.parts.stores.registry.outcomes
        until(lambda: all(self.system.loaded(account.id, one) for one in self.series(account.id)), "the history")
        assert outcomes.known(account.id)
        self.settle()

    def series(self, account_id: str) -> list[Series]:
        return list(self.system.parts.stores.registry.outcomes.collected(account_id))

    def notices(self, account_id: str) -> list[Notice]:
        """Return the notices about an account."""
        rows = self.system.parts.stores.registry.database.fetch(NOTICE_QUERY)
        return [notice for row in rows if (notice := Notice(**row._asdict())).account_id == account_id]

    # -- The measures

    def count_faults(self, meter: str) -> int:
        """Return how many documents of a meter differ from what the simulator measured, in any field."""
        parts, account = self.system.parts, self.account(meter)
        truth = fetch_truth(parts.stores.registry, parts.sync, self.system.settings["ENEDIS_URL"], meter, account.id)
        stored = read_stored(parts.stores.measures, account.id)
        assert stored[DAILY.inputs], "there are no days"
        differences = find_differences(truth.expected_loads(), stored)
        return differences.total() + count_wrong_details(truth.expected_details(), stored)


@contextmanager
def open_rights_service(folder: Path) -> Iterator[RightsService]:
    """Yield a service of electricity (v4, which takes no invitation) and gas; all its processes end with the block."""
    usual = {
        "PRESET": "enedis-v4",
        "PRETEND_NOW": _MORNING,
        "ENEDIS_CLIENT_SECRET": "s",
        "HISTORY_LOAD_DAYS": "3",
        "GRDF_CLIENT_ID": "gas-client",
        "GRDF_CLIENT_SECRET": "gas-secret",
        "GRDF_CALLS_PER_SECOND": "0",
        "GRDF_CALLS_PER_DAY": "0",
        **NO_QUOTA,
    }
    address = f"http://127.0.0.1:{free_port()}"
    with ExitStack() as opened:
        system = opened.enter_context(open_system(folder, PUBLIC_URL=address, **usual))
        system.settings["GRDF_URL"] = system.settings["ENEDIS_URL"]
        system.start_simulator()
        log = system.start_worker(*QUICK_START, "-l", "DEBUG")  # Which tells the end of each task.
        system.start_web()
        yield RightsService(system, address, log, opened)


def dump(service: RightsService) -> dict[str, str]:
    """Return all that the service keeps, as text by its place: rows, keys, files and logs, with what is sealed opened.

    The simulator's own log is GRDF's.
    """
    parts, system = service.system.parts, service.system
    rows = all_rows(parts.stores.registry.database)
    places = {f"table {name}": "\n".join(lines) for name, lines in rows.items()}
    places |= {f"key {key}": _value_of(system.redis, key) for key in system.redis.scan_iter("*")}
    for path in (path for path in system.folder.rglob("*") if path.is_file() and "simulator" not in path.name):
        places[f"file {path.relative_to(system.folder)}"] = path.read_bytes().decode("latin-1")
    for column in TEXT_SEALS:
        sealed = parts.stores.registry.database.fetch(select(column.seals, column.key).where(column.seals.is_not(None)))
        name = f"table {column.seals.table.name}"
        texts = [parts.stores.keys.registry.unseal(seal, column.place_of(key)) for seal, key in sealed]
        places[name] = "\n".join([places[name], *texts])
    for key in [key for key in places if key.startswith("key ")]:
        kind, _, name = key.removeprefix("key releve:").removeprefix("secret:").partition(":")
        texts = [parts.stores.keys.redis.unseal(seal, f"{kind}/{name}") for seal in _SEALED.findall(places[key])]
        places[key] = "\n".join([places[key], *texts])
    return places


def _value_of(client: Any, key: str) -> str:
    """Return key and value of Redis as text, whatever its type is."""
    readers = {
        "string": client.get,
        "hash": client.hgetall,
        "set": client.smembers,
        "list": lambda key: client.lrange(key, 0, -1),
        "zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    return f"{key} {readers[client.type(key)](key)}"
