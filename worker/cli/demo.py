"""`releve demo`: the whole of Relève on one machine, with three pretend homes; it needs only Python.

Every part is real: a Redis-protocol server, a Celery worker and beat, the web service, HTTP to a simulator of the
supplier.  The user's own settings are ignored, for a demo must never touch real data.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
import requests
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.settings import get_settings
from worker.app import RIGHTS_TASK, enqueue
from worker.cli.common import json_option, print_json
from worker.cli.demo_gas import HOME_WITH_GAS, GasResult, check_gas, connect_gas
from worker.cli.demo_homes import (
    HOME_WITH_PANELS,
    HOMES,
    HomeResult,
    check_home,
    collect_all,
    connect_home,
    give_panels,
)
from worker.cli.operators import new_operator_link
from worker.cli.show import plot_loads
from worker.cli.supervise import shown_command, start_part, use_pretend_settings
from worker.clients.enedis.presets import PRESETS
from worker.domain.measures.amounts import format_kwh
from worker.domain.measures.documents import key_range, to_amount
from worker.domain.measures.series import curve_of, daily_of
from worker.domain.measures.windows import plan_look_back
from worker.errors import ProcessFailed
from worker.ops.flower import USER as FLOWER_USER
from worker.runtime.process import Runtime
from worker.stores.redis.child_processes import Supervisor, answers, free_port
from worker.stores.redis.embedded import EmbeddedRedis

_POLL_S: Final = 0.25
_OPERATOR: Final = "demo"
_FLOWER_PASSWORD: Final = "demo"  # noqa: S105 - It shows pretend homes.
_LONGEST_S: Final = 300.0
_INTERRUPTED: Final = 130  # Before all was checked.


@click.command()
@click.option("--exit", "leave", is_flag=True, help="Exit after the checks instead of staying up.")
@click.option(
    "--preset",
    type=click.Choice(sorted(PRESETS)),
    default="enedis-2026",
    show_default=True,
    help="API of the simulator.",
)
@json_option
def demo(leave: bool, preset: str, as_json: bool) -> int:
    """Connect three pretend homes, fetch their history, check all totals and show a week.

    The second home also has gas. The third has solar panels, and collects all series.

    With --exit the exit code is 1 if a total is wrong.

    \b
    Examples:
      releve demo
      releve demo --exit --json
    """
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
        supervisor: Supervisor,
        runtime: Runtime,
        preset: str,
        simulator: str,
        web: str,
        console: Console,
    ) -> None:
        self._folder = folder
        self._preset = PRESETS[preset]
        self._supervisor = supervisor
        self._runtime = runtime
        self._simulator = simulator
        self._web = web
        self._console = console
        self._accounts: dict[str, str] = {}  # By home.
        self._gas = ("", "")  # Account and postcode.

    def run(self) -> tuple[list[HomeResult], GasResult]:
        """Connect the homes, wait for their history, and compare what is stored with the simulator's values."""
        give_panels(self._simulator)
        for home in HOMES:
            with requests.Session() as browser:
                self._accounts[home] = connect_home(self._web, home, browser=browser)
                self._console.print(f"connected [bold]{home}[/]: account {self._accounts[home]}")
                if home == HOME_WITH_GAS:
                    account_id = self._accounts[home]
                    self._gas = connect_gas(self._web, self._simulator, browser, account_id, self._check_rights)
                    self._console.print(f"connected the gas meter of the [bold]{home}[/]: account {self._gas[0]}")
        collect_all(self._runtime, self._accounts[HOME_WITH_PANELS], self._preset)
        self._wait_for_history([*self._accounts.values(), self._gas[0]])
        results = [check_home(self._runtime, self._simulator, home, id_) for home, id_ in self._accounts.items()]
        return results, check_gas(self._runtime, self._simulator, self._gas[0])

    def _check_rights(self) -> None:
        enqueue(RIGHTS_TASK, broker_url=self._runtime.broker_url)

    def show(self, results: list[HomeResult], gas: GasResult) -> None:
        """Print a row a home and one for the gas, and a plot of the first home's last week."""
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
        week = plan_look_back(self._runtime.history.today(), curve_of(daily_of()))
        doctype = daily_of().inputs
        days = self._runtime.measures.read(results[0].account, {doctype: key_range(week, doctype)})
        self._console.print(plot_loads(days[doctype], doctype))

    @staticmethod
    def _add_gas(table: Table, gas: GasResult) -> None:
        kwh, expected = (format_kwh(to_amount(kwh)) for kwh in (gas.kwh, gas.expected_kwh))
        verdict = "[green]right[/]" if gas.ok else "[red]WRONG[/]"
        table.add_row(f"{gas.home}, gas", gas.account, str(gas.days), "", kwh, expected, verdict)

    def wait_for_interrupt(self) -> None:
        """Keep everything running.  Raises KeyboardInterrupt, and WorkerError where a process ends by itself."""
        flower_port = free_port()
        # Flower starts after the checks, for its start takes a second of a core.
        start_part(self._supervisor, "flower", f"--port={flower_port}", env={}, logs=self._folder / "logs")
        self._console.print(f"[bold]open {self._web}[/] to connect a pretend home of your own")
        for home, account_id in self._accounts.items():  # The link is the one that a holder gets by mail.
            _, link = self._runtime.inviter.invite_account(account_id, "releve demo")
            self._console.print(f"  the {home}'s page: {link}", soft_wrap=True)
        account_id, postcode = self._gas
        _, link = self._runtime.inviter.invite_account(account_id, "releve demo")
        words = f"  the {HOME_WITH_GAS}'s gas (postcode {postcode}, any name and mail address): {link}"
        self._console.print(words, soft_wrap=True)
        access = self._runtime.web_access
        link = new_operator_link(access, access.operators.add(_OPERATOR), self._web)
        program = shown_command()
        another = f"`{program} operators link {_OPERATOR}` makes another"
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
                    collected = self._runtime.registry.outcomes.collected(account_id)
                    counts = [self._runtime.history.count_days(account_id, series) for series in collected]
                    done, total = (sum(column) for column in zip(*counts, strict=True))
                    progress.update(bar, completed=done, total=total)
                if exits := self._supervisor.wait(_POLL_S):
                    raise ProcessFailed(str(exits[0]))
                if time.monotonic() > deadline:
                    raise ProcessFailed(
                        f"not finished after {_LONGEST_S:.0f} s: see the logs in {self._folder / 'logs'}"
                    )


def write_environment(file: Path, env: Mapping[str, str]) -> None:
    """Write the variables for a shell; without the services' log level, so that commands by hand tell errors alone."""
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
        with Runtime(get_settings()) as runtime:
            start_part(supervisor, "web", "--host", "127.0.0.1", "--port", str(web_port), env=env, logs=logs)
            start_part(supervisor, "worker", env=env, logs=logs)
            start_part(supervisor, "beat", env=env, logs=logs)
            supervisor.wait_until_ready("simulator", lambda: answers(f"{simulator}/__sim__/health"))
            supervisor.wait_until_ready("web", lambda: answers(f"{web}/"))
            console.print(f"started: Redis, simulator of {preset}, worker, beat, web at {web}", soft_wrap=True)
            yield Demo(folder, supervisor, runtime, preset, simulator, web, console)
