"""`releve demo`: the whole of Relève on one machine, with three pretend homes, or only these.

The demo needs only Python. Every part of it is real: a Redis-protocol server, a Celery worker and beat, the web
service, HTTP to a simulator of the supplier. The user's own settings are ignored, because a demo must never touch real
data.

It connects homes of the simulator through the web pages, as their holders would, and checks their stored documents. The
holder of the second home declares the right to its gas on the home's own page, which the operator accepts, and joins
the two meters. The third has panels, and all series of the supplier's API are collected for it.
"""

from __future__ import annotations

import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import click
import requests
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.settings import ConfigError, Settings, get_settings
from drill.embedded_redis import EmbeddedRedis
from drill.expected_documents import (
    Loads,
    count_wrong_details,
    fetch_truth,
    find_differences,
    loads_by_key,
    read_stored,
)
from drill.parts import shown_command, start_part, use_pretend_settings
from worker.app import RIGHTS_TASK, enqueue, enqueue_backfill, enqueue_request
from worker.cli.access import new_operator_link
from worker.cli.command_audit import OWN_DATA, command
from worker.cli.parameters import json_option, print_json, print_result
from worker.cli.processes import LOOPBACK, WEB_PORT
from worker.cli.show import plot_loads
from worker.clients.endpoints import Preset
from worker.clients.enedis.presets import PRESETS
from worker.clients.grdf import GRDF
from worker.domain.documents import Document, format_kwh, key_range, to_amount, to_kwh
from worker.domain.series import Direction, Doctype, Series, SeriesSwitch, curve_of, daily_of, intervals_of
from worker.domain.windows import plan_look_back
from worker.errors import PageNotReady, ProcessFailed
from worker.ops.startup import FLOWER_USER
from worker.ops.supervisor import public_url
from worker.runtime.consent_parts import build_consent, build_inviter
from worker.runtime.stores import Stores, open_stores
from worker.runtime.sync_parts import Sync, build_sync
from worker.runtime.web_access import build_web
from worker.stores.child_processes import Supervisor, answers, free_port

_MOST_HOPS: Final = 10
_RELOAD_S: Final = 0.3
_ACCEPT: Final = 'name="decision" value="approve"'  # The button of the simulator's consent page.
_OWN_PAGE: Final = re.compile(r"/accounts/([a-z0-9]+)$")

# The number of each home's meter at the simulator.
HOMES: Final = {"flat": "30001000000014", "studio": "30001000000035", "house": "30001000000027"}
HOME_WITH_PANELS: Final = "house"
_PANELS_WP: Final = 4_500
HOME_WITH_GAS: Final = "studio"
_METER: Final = "21546874100017"
_CSRF: Final = re.compile(r'name="csrf" value="([^"]+)"')
_OFFER: Final = re.compile(r'name="offer" value="([^"]+)"')
_OPENS: Final = re.compile(r'action="(/connect/[a-z/]+)" class="opens"')
_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.25
_OPERATOR: Final = "demo"
_FLOWER_PASSWORD: Final = "demo"  # noqa: S105 - It shows pretend homes.
_LONGEST_S: Final = 300.0
_INTERRUPTED: Final = 130  # Before all was checked.
_RETRY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class EnergyResult:
    """The stored values of one direction, and those of the simulator."""

    days: int
    half_hours: int
    kwh: float  # With all decimals.
    expected_kwh: float


@dataclass(frozen=True, slots=True)
class HomeResult:
    """The stored values of a home; ``ok`` if every document equals the simulator's values, to the watt-hour.

    ``production`` is None if it isn't collected; ``series`` are all collected ones.
    """

    account: str
    consumption: EnergyResult
    production: EnergyResult | None
    series: list[Series]
    ok: bool

    def as_json(self) -> dict[str, Any]:
        """Return the fields for `--json`, with those of the consumption at the top level."""
        fields = asdict(self)
        return {"account": fields.pop("account"), **fields.pop("consumption"), **fields}


def connect_home(
    web: str, home: str, origins: Mapping[str, str] | None = None, browser: requests.Session | None = None
) -> str:
    """Connect a home as a browser would and return the account's id: first page, consent page, callback, account page.

    ``home``: one of the demo's, or the number of another home's meter. The first page invites to pretend homes, and the
    consent page takes the meter of the invitation as the holder's choice. ``origins``: by origin in redirects, the one
    at which we reach it. ``browser`` is signed in to the account afterwards. Raises PageNotReady if the redirects end
    at another page.
    """
    browser = browser or requests.Session()
    form = {"usage_point_id": HOMES.get(home, home)}
    sent = browser.post(f"{web}/invitation/pretend", form, allow_redirects=False, timeout=_TIMEOUT_S)
    if not sent.is_redirect:
        raise PageNotReady(f"the first page invites to no pretend home: status {sent.status_code}")
    return follow_pages(browser, sent.headers["Location"], home if home in HOMES else "a home", origins)


def follow_pages(
    browser: requests.Session,
    url: str,
    what: str,
    origins: Mapping[str, str] | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> str:
    """Follow the pages of a connection, including those that reload themselves, and return the account's id.

    ``meanwhile`` is called before each reload. Raises PageNotReady if the pages end elsewhere.
    """
    page = browse(browser, url, origins)
    give_up_at = time.monotonic() + _TIMEOUT_S
    while "Refresh" in page.headers and time.monotonic() < give_up_at:  # A worker asks the supplier meanwhile.
        meanwhile()
        time.sleep(_RELOAD_S)
        page = browse(browser, page.url, origins)
    if button := _OPENS.search(page.text):
        page = browser.post(urljoin(page.url, button[1]), {"csrf": _find_csrf(page.text)}, timeout=_TIMEOUT_S)
    if offer := _OFFER.search(page.text):  # The browser shows other meters, which this one joins.
        answer = {"offer": offer[1], "choice": "join"}
        page = browser.post(urljoin(page.url, "/connect/join"), answer, timeout=_TIMEOUT_S)
    own_page = _OWN_PAGE.search(page.url)
    if not page.ok or own_page is None:
        raise PageNotReady(f"connecting {what} ended at a page with status {page.status_code}")
    return own_page[1]


def browse(browser: requests.Session, url: str, origins: Mapping[str, str] | None = None) -> requests.Response:
    """Return the page at which the redirects end, accepting a consent page. Raises PageNotReady after too many."""
    for _ in range(_MOST_HOPS):
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        own_url = (origins or {}).get(origin, origin) + parts._replace(scheme="", netloc="").geturl()
        answer = browser.get(own_url, allow_redirects=False, timeout=_TIMEOUT_S)
        if _ACCEPT in answer.text:
            url = f"{own_url}&decision=approve"
            continue
        if not answer.is_redirect:
            return answer
        url = urljoin(own_url, answer.headers["Location"])
    raise PageNotReady("connecting a home leads round in a circle")


def give_panels(simulator: str) -> None:
    """Give the third home its panels.  Raises the errors of requests."""
    url = f"{simulator}/__sim__/meters/{HOMES[HOME_WITH_PANELS]}"
    requests.post(url, json={"panels_wp": _PANELS_WP}, timeout=_TIMEOUT_S).raise_for_status()


def collect_all(stores: Stores, account_id: str, preset: Preset) -> None:
    """Switch on all series that the supplier's API has, and fetch their history.  Raises StoreUnavailable."""
    collected = stores.registry.outcomes.collected(account_id)
    further = [series for series in Series if preset.offers(series) and series not in collected]
    for series in further:
        stores.registry.outcomes.switch(account_id, series, SeriesSwitch.ON, stores.now())
    if further:
        enqueue_backfill(account_id, broker_url=stores.broker_url)


def check_home(stores: Stores, sync: Sync, simulator: str, home: str, account_id: str) -> HomeResult:
    """Compare every stored document of the home, of every series, with what the simulator measured."""
    truth, stored = (
        fetch_truth(stores.registry, sync, simulator, HOMES[home], account_id),
        read_stored(stores.measures, account_id),
    )
    loads, series = truth.expected_loads(), stores.registry.outcomes.known(account_id)
    has_production = daily_of(Direction.PRODUCTION) in series
    return HomeResult(
        account_id,
        _energy(Direction.CONSUMPTION, loads, stored),
        _energy(Direction.PRODUCTION, loads, stored) if has_production else None,
        series,
        not find_differences(loads, stored) and not count_wrong_details(truth.expected_details(), stored),
    )


def _energy(direction: Direction, expected: Loads, stored: Mapping[Doctype, list[Document]]) -> EnergyResult:
    day, step = daily_of(direction).inputs, curve_of(daily_of(direction)).inputs
    sums = (_kwh(days) for days in (loads_by_key(stored[day]), expected[day]))
    return EnergyResult(len(stored[day]), len(stored[step]), *sums)


def _kwh(days: dict[str, float]) -> float:
    return to_kwh(sum(map(to_amount, days.values())))


@dataclass(frozen=True, slots=True)
class GasResult:
    """The stored values of the home's gas; ``ok`` if every document equals the simulator's values, to the last digit.

    ``periods``: billed periods. ``kwh`` and ``expected_kwh``: of all days.
    """

    account: str
    home: str
    days: int
    periods: int
    kwh: float
    expected_kwh: float
    series: list[Series]
    ok: bool


def connect_gas(
    web: str,
    simulator: str,
    browser: requests.Session,
    account_id: str,
    accept: Callable[[], None],
    check_rights: Callable[[], None],
) -> tuple[str, str]:
    """Declare the right for a home's gas as its household does, join both meters; return the gas' account and postcode.

    ``browser`` is signed in to the home's account. ``accept`` lets the operator accept. The simulated holder accepts at
    once, and ``check_rights`` lets a worker check this, as beat does every quarter of an hour. Raises PageNotReady if
    the pages lead elsewhere, and the errors of requests.
    """
    _tell(simulator, "gas/switches", holder="accepts_at_once")
    meter = _tell(simulator, f"gas/meters/{_METER}", frequency="1M")
    address = f"{web}/accounts/{account_id}/gas"
    typed = {"pce": _METER, "name": "Martin", "postcode": meter["postcode"], "email": "martin@example.org"}
    form = {**typed, "consent": "yes", "csrf": _find_csrf(browse(browser, address).text)}
    sent = browser.post(address, form, allow_redirects=False, timeout=_TIMEOUT_S)
    if not sent.is_redirect:
        raise PageNotReady(f"the declaration for gas was not taken: status {sent.status_code}")
    accept()
    gas_account = follow_pages(browser, f"{web}{sent.headers['Location']}", "the gas", meanwhile=check_rights)
    page = browse(browser, f"{web}/accounts/{gas_account}/connection").text
    joined = {"csrf": _find_csrf(page), "other": account_id}
    browser.post(f"{web}/accounts/{gas_account}/home", joined, timeout=_TIMEOUT_S).raise_for_status()
    return gas_account, meter["postcode"]


def check_gas(stores: Stores, sync: Sync, simulator: str, account_id: str) -> GasResult:
    """Compare every stored document of the gas, of every series, with what the simulator measured."""
    truth, stored = (
        fetch_truth(stores.registry, sync, simulator, _METER, account_id),
        read_stored(stores.measures, account_id),
    )
    loads, days, periods = truth.expected_loads(), daily_of(supplier=GRDF.name).inputs, intervals_of(GRDF.name).inputs
    kwh, expected = (to_kwh(sum(map(to_amount, of.values()))) for of in (loads_by_key(stored[days]), loads[days]))
    return GasResult(
        account_id,
        HOME_WITH_GAS,
        len(stored[days]),
        len(stored[periods]),
        kwh,
        expected,
        stores.registry.outcomes.known(account_id),
        not find_differences(loads, stored) and not count_wrong_details(truth.expected_details(), stored),
    )


def _tell(simulator: str, path: str, **switches: str) -> dict[str, str]:
    answer = requests.post(f"{simulator}/__sim__/{path}", json=switches, timeout=_TIMEOUT_S)
    answer.raise_for_status()
    told: dict[str, str] = answer.json()
    return told


def _find_csrf(page: str) -> str:
    """Return the hidden field of the page's own form, which comes after that of a notice."""
    found = _CSRF.findall(page)
    if not found:
        raise PageNotReady("the page has no form")
    return str(found[-1])


@command(audit=OWN_DATA)
@click.option("--exit", "leave", is_flag=True, help="Exit after the checks instead of staying up.")
@click.option(
    "--preset",
    type=click.Choice(sorted(PRESETS)),
    default="enedis-2026",
    show_default=True,
    help="API of the simulator.",
)
@click.option("--homes-only", is_flag=True, help="Only connect the homes, at a running web service and simulator.")
@click.option("--web", help="With --homes-only: URL of the web service. Default: RELEVE_PUBLIC_URL.")
@click.option(
    "--patience",
    default=120,
    show_default=True,
    type=click.IntRange(0),
    help="With --homes-only: seconds to wait for the web service.",
)
@json_option
def demo(leave: bool, preset: str, homes_only: bool, web: str | None, patience: int, as_json: bool) -> int:
    """Connect three pretend homes, fetch their history, check all totals and show a week.

    The second home also has gas. The third has solar panels, and collects all series.

    With --exit the exit code is 1 if a total is wrong.

    --homes-only needs RELEVE_PRETEND_HOMES. It reaches the pages at --web and the simulator at RELEVE_ENEDIS_URL, even
    if browsers use other addresses (RELEVE_PUBLIC_URL, RELEVE_ENEDIS_AUTHORIZE_URL). Workers then fetch the history.
    For a home that is already connected, it renews the consent.

    \b
    Examples:
      releve demo
      releve demo --exit --json
      RELEVE_ENEDIS_URL=http://simulator:8765 releve demo --homes-only --web http://web:8000
    """
    if homes_only:
        _connect_homes(web, patience, as_json)
        return 0
    console = Console(stderr=as_json)
    with tempfile.TemporaryDirectory(prefix="releve-demo-") as folder, _start(Path(folder), preset, console) as running:
        code = _INTERRUPTED
        try:
            results, gas = running.run()
            ok = len(results) == len(HOMES) and all(result.ok for result in results) and gas.ok
            code = 0 if ok else 1
            if as_json:
                print_json({"ok": ok, "accounts": [result.as_json() for result in results], "gas": asdict(gas)})
            else:
                running.show(results, gas)
            if not leave:
                running.wait_for_interrupt()
        except KeyboardInterrupt:
            console.print("stopping the processes and removing the demo's data, about ten seconds")
    return code


class Demo:
    """The running demo: its processes, the connected homes and their results."""

    def __init__(
        self,
        folder: Path,
        stores: Stores,
        supervisor: Supervisor,
        preset: str,
        simulator: str,
        web: str,
        console: Console,
    ) -> None:
        self._folder = folder
        self._preset = PRESETS[preset]
        self._supervisor = supervisor
        self._stores, self._sync = stores, build_sync(stores)
        self._consent = build_consent(stores, self._sync)
        self._simulator = simulator
        self._web = web
        self._console = console
        self._accounts: dict[str, str] = {}  # By home.
        self._gas = ("", "")  # Account and postcode.

    def run(self) -> tuple[list[HomeResult], GasResult]:
        """Connect the homes, wait for their history, and compare the stored documents with the simulator's values."""
        give_panels(self._simulator)
        for home in HOMES:
            with requests.Session() as browser:
                self._accounts[home] = connect_home(self._web, home, browser=browser)
                self._console.print(f"connected [bold]{home}[/]: account {self._accounts[home]}")
                if home == HOME_WITH_GAS:
                    account_id = self._accounts[home]
                    self._gas = connect_gas(
                        self._web, self._simulator, browser, account_id, self._accept_requests, self._check_rights
                    )
                    self._console.print(f"connected the gas meter of the [bold]{home}[/]: account {self._gas[0]}")
        collect_all(self._stores, self._accounts[HOME_WITH_PANELS], self._preset)
        self._wait_for_history([*self._accounts.values(), self._gas[0]])
        results = [
            check_home(self._stores, self._sync, self._simulator, home, id_) for home, id_ in self._accounts.items()
        ]
        return results, check_gas(self._stores, self._sync, self._simulator, self._gas[0])

    def _accept_requests(self) -> None:
        """Accept the requests that wait for the operator, like `releve consents accept`."""
        for request in self._consent.requests.list_held():
            self._consent.connector.let_in(request.id, by="cli:demo")
            enqueue_request(request.id, vouched=True, broker_url=self._stores.broker_url)

    def _check_rights(self) -> None:
        enqueue(RIGHTS_TASK, broker_url=self._stores.broker_url)

    def show(self, results: list[HomeResult], gas: GasResult) -> None:
        """Print a row for each home and one for the gas, and a plot of the first home's last week."""
        table = Table("home", "account", "days", "half-hours", "kWh", "expected kWh", "", box=None)
        for home, result in zip(HOMES, results, strict=True):
            for name, energy in ((home, result.consumption), (f"{home}, fed in", result.production)):
                if energy is not None:
                    sums = (format_kwh(to_amount(kwh)) for kwh in (energy.kwh, energy.expected_kwh))
                    counts = (str(energy.days), str(energy.half_hours))
                    verdict = "[green]right[/]" if result.ok else "[red]WRONG[/]"
                    table.add_row(name, result.account, *counts, *sums, verdict)
                if name == HOME_WITH_GAS:
                    self._add_gas(table, gas)
        self._console.print(table)
        self._console.print(f"series of the {HOME_WITH_PANELS}: {', '.join(results[-1].series)}")
        week = plan_look_back(self._sync.history.today(), curve_of(daily_of()))
        doctype = daily_of().inputs
        days = self._stores.measures.read(results[0].account, {doctype: key_range(week, doctype)})
        self._console.print(plot_loads(days[doctype], doctype))

    @staticmethod
    def _add_gas(table: Table, gas: GasResult) -> None:
        kwh, expected = (format_kwh(to_amount(kwh)) for kwh in (gas.kwh, gas.expected_kwh))
        verdict = "[green]right[/]" if gas.ok else "[red]WRONG[/]"
        table.add_row(f"{gas.home}, gas", gas.account, str(gas.days), "", kwh, expected, verdict)

    def wait_for_interrupt(self) -> None:
        """Keep everything running. Raises KeyboardInterrupt, and WorkerError if a process ends by itself."""
        flower_port = free_port()
        # Flower starts after the checks, because its start takes a second of a core.
        start_part(self._supervisor, "flower", f"--port={flower_port}", env={}, logs=self._folder / "logs")
        self._console.print(f"[bold]open {self._web}[/] to connect a pretend home of your own")
        for home, account_id in self._accounts.items():  # The link is the one that a holder gets by mail.
            _, link = build_inviter(self._stores).invite_account(account_id, "releve demo")
            self._console.print(f"  the {home}'s page: {link}", soft_wrap=True)
        account_id, postcode = self._gas
        _, link = build_inviter(self._stores).invite_account(account_id, "releve demo")
        words = f"  the {HOME_WITH_GAS}'s gas (postcode {postcode}, any name and mail address): {link}"
        self._console.print(words, soft_wrap=True)
        access = build_web(self._stores)
        link = new_operator_link(access, access.operators.add(_OPERATOR), self._web)
        program = shown_command()
        another = f"`{program} access link {_OPERATOR}` makes another"
        words = f"operator's page, once within 10 minutes ({another}): {link}"
        self._console.print(words, soft_wrap=True)
        self._console.print(
            f"tasks in Flower: http://127.0.0.1:{flower_port}, user {FLOWER_USER}, password {_FLOWER_PASSWORD}\n"
            f"still running: simulator {self._simulator}, logs {self._folder / 'logs'}\n"
            f"in another terminal, in this folder: set -a; . {self._folder / 'demo.env'}; set +a; {program} status\n"
            "Ctrl-C ends everything and removes the demo's data",
            soft_wrap=True,
        )
        raise ProcessFailed(str(self._supervisor.wait()[0]))

    def _wait_for_history(self, account_ids: list[str]) -> None:
        deadline = time.monotonic() + _LONGEST_S
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            bars = {account_id: progress.add_task(account_id) for account_id in account_ids}
            while not progress.finished:
                for account_id, bar in bars.items():
                    collected = self._stores.registry.outcomes.collected(account_id)
                    counts = [days.count() for days in self._sync.history.load(account_id, *collected).values()]
                    done, total = (sum(column) for column in zip(*counts, strict=True))
                    progress.update(bar, completed=done, total=total)
                if exits := self._supervisor.wait(_POLL_S):
                    raise ProcessFailed(str(exits[0]))
                if time.monotonic() > deadline:
                    raise ProcessFailed(
                        f"not finished after {_LONGEST_S:.0f} s: see the logs in {self._folder / 'logs'}"
                    )


def write_environment(file: Path, env: Mapping[str, str]) -> None:
    """Write the variables for a shell; without the services' log level, so that commands by hand log only errors."""
    variables = {**env, "RELEVE_LOG_LEVEL": ""}
    file.write_text("".join(f"{name}='{value}'\n" for name, value in variables.items()), encoding="utf-8")


@contextmanager
def _start(folder: Path, preset: str, console: Console) -> Iterator[Demo]:
    """Start all processes with an environment of their own; leaving the block ends them, the last started first."""
    with EmbeddedRedis(folder) as redis, Supervisor() as supervisor:
        port, web_port = free_port(), free_port()
        simulator, web = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{web_port}"
        env = use_pretend_settings(
            folder,
            preset,
            redis.url,
            simulator,
            public_url=web,
            flower_password=_FLOWER_PASSWORD,
            session_key=secrets.token_urlsafe(48),
        )
        write_environment(folder / "demo.env", env)
        logs = folder / "logs"
        start_part(supervisor, "simulator", "--port", str(port), "--consent-page", env=env, logs=logs)
        with open_stores(get_settings(), guarded=False) as stores:
            start_part(supervisor, "web", "--host", "127.0.0.1", "--port", str(web_port), env=env, logs=logs)
            start_part(supervisor, "worker", env=env, logs=logs)
            start_part(supervisor, "beat", env=env, logs=logs)
            supervisor.wait_until_ready("simulator", lambda: answers(f"{simulator}/__sim__/health"))
            supervisor.wait_until_ready("web", lambda: answers(f"{web}/"))
            console.print(f"started: Redis, simulator of {preset}, worker, beat, web at {web}", soft_wrap=True)
            yield Demo(folder, stores, supervisor, preset, simulator, web, console)


def _connect_homes(web: str | None, patience: int, as_json: bool) -> None:
    """Connect the homes through the pages of a running installation."""
    settings = get_settings()
    if not settings.speaks_to_simulator:
        raise ConfigError(
            "pretend homes need the simulator: set RELEVE_ENEDIS_URL to its address, and RELEVE_PRETEND_HOMES=true"
        )
    public = public_url(settings, LOOPBACK, WEB_PORT)
    web_url = (web or public).rstrip("/")
    deadline = time.monotonic() + patience
    origins = _origins(settings, public, web_url)
    accounts = {home: _connect(web_url, home, origins, deadline) for home in HOMES}
    lines = [f"{name} is connected as account {account_id}" for name, account_id in accounts.items()]
    print_result(accounts, *lines, as_json=as_json)


def _connect(web_url: str, home: str, origins: dict[str, str], deadline: float) -> str:
    while True:
        try:
            return connect_home(web_url, home, origins)
        except (requests.RequestException, PageNotReady) as error:  # Web or simulator may still be starting.
            if time.monotonic() > deadline:
                reason = error if isinstance(error, PageNotReady) else f"no answer ({type(error).__name__})"
                raise PageNotReady(f"{web_url}: {reason}; check web and simulator") from error
            time.sleep(_RETRY_S)


def _origins(settings: Settings, public: str, web_url: str) -> dict[str, str]:
    """Return, for each origin in redirects to browsers, the one at which we reach it."""
    origins = {_origin(public): web_url}
    if settings.enedis_authorize_url and settings.enedis_url:
        origins[_origin(settings.enedis_authorize_url)] = _origin(settings.enedis_url)
    return origins


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
