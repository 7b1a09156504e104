"""releve demo: the whole thing on one machine, nothing but Python needed and no contract with anybody.

Real parts throughout: a Redis-protocol server, a Celery worker and beat, HTTP to a simulator of the supplier.
What the user's own environment says is not looked at: a demo must never touch real data.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from config.settings import get_settings
from worker.cli.common import json_option, print_json, warn
from worker.cli.demo_homes import HOMES, DemoHome, HomeResult, check_home, connect_home
from worker.cli.show import plot
from worker.cli.supervise import last_words, settings_apart, start_engine, start_flower, start_web, wait_for
from worker.clients.enedis.presets import PRESETS
from worker.domain.measures.documents import key_range
from worker.domain.measures.readings import Period, Series
from worker.domain.measures.windows import plan_look_back
from worker.errors import SupplierUnavailable
from worker.ops.flower import USER as FLOWER_USER
from worker.runtime.process import Runtime
from worker.stores.encryption import new_key
from worker.stores.redis.embedded import EmbeddedRedis, Supervisor, free_port

_POLL_S: Final = 0.25
_OPERATOR_PASSWORD: Final = "demo"  # noqa: S105 - opens pretend homes
_LONGEST_S: Final = 300.0


@click.command()
@click.option("--exit", "leave", is_flag=True, help="End when all is checked instead of staying up.")
@click.option(
    "--preset", type=click.Choice(sorted(PRESETS)), default="enedis-2026", show_default=True, help="API spoken."
)
@json_option
def demo(leave: bool, preset: str, as_json: bool) -> int:
    """Connect three pretend homes, fetch their history, check every total, show a week.

    With --exit the exit code is 1 when a total is wrong.

    \b
    Examples:
      releve demo
      releve demo --exit --json
    """
    console = Console(stderr=as_json)
    with tempfile.TemporaryDirectory(prefix="releve-demo-") as folder, _started(Path(folder), preset, console) as house:
        verdicts = house.run()
        ok = len(verdicts) == len(HOMES) and all(verdict.ok for verdict in verdicts)
        if as_json:
            print_json({"ok": ok, "accounts": [verdict.as_json() for verdict in verdicts]})
        else:
            house.show(verdicts)
        if not leave:
            house.stay()
    return 0 if ok else 1


class Demo:
    """The running demo."""

    def __init__(
        self, folder: Path, supervisor: Supervisor, runtime: Runtime, simulator: str, web: str, console: Console
    ) -> None:
        self._folder = folder
        self._supervisor = supervisor
        self._runtime = runtime
        self._simulator = simulator
        self._web = web
        self._console = console
        self._accounts: dict[DemoHome, str] = {}

    def run(self) -> list[HomeResult]:
        """Connect the homes, watch their history arrive, compare all with the simulator's truth."""
        for home in HOMES:
            self._accounts[home] = connect_home(self._web, home)
            self._console.print(f"connected [bold]{home.name}[/] by its pages: account {self._accounts[home]}")
        self._watch(list(self._accounts.values()))
        return [check_home(self._runtime, self._simulator, home, id_) for home, id_ in self._accounts.items()]

    def show(self, verdicts: list[HomeResult]) -> None:
        table = Table("home", "account", "days", "half-hours", "kWh", "expected kWh", "", box=None)
        for home, verdict in zip(HOMES, verdicts, strict=True):
            counts = (str(verdict.days), str(verdict.half_hours), f"{verdict.kwh:.3f}", f"{verdict.expected_kwh:.3f}")
            table.add_row(home.name, verdict.account, *counts, "[green]right[/]" if verdict.ok else "[red]WRONG[/]")
        self._console.print(table)
        week = plan_look_back(self._runtime.dispatcher.today(), Series.LOAD_CURVE)
        days = self._runtime.measures[Period.DAY].read(verdicts[0].account, *key_range(week, Period.DAY))
        self._console.print(plot(days, Period.DAY))

    def stay(self) -> None:
        """Until Ctrl-C, or until a part of the house ends."""
        flower_port = free_port()
        start_flower(self._supervisor, {}, self._folder / "logs", flower_port)  # only now: it costs a second of a core
        self._console.print(f"[bold]open {self._web}[/] to connect a pretend home of your own")
        for home, account_id in self._accounts.items():  # as its owner would, by a link from a message
            link = self._runtime.renewal_link(account_id)
            self._console.print(f"  the {home.name}'s page: {link}", soft_wrap=True)
        self._console.print(
            f"operator's page: {self._web}/operator, password {_OPERATOR_PASSWORD}\n"
            f"tasks in Flower: http://127.0.0.1:{flower_port}, user {FLOWER_USER}, password {_OPERATOR_PASSWORD}\n"
            f"still running: simulator {self._simulator}, logs {self._folder / 'logs'}\n"
            f"in another terminal: set -a; . {self._folder / 'demo.env'}; set +a; releve status\n"
            "Ctrl-C ends everything and removes the demo's data"
        )
        try:
            while not (gone := self._supervisor.wait(1.0)):
                pass
        except KeyboardInterrupt:
            return
        raise SupplierUnavailable(self._fall(gone[0].name, str(gone[0])))

    def _watch(self, account_ids: list[str]) -> None:
        give_up = time.monotonic() + _LONGEST_S
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console) as progress:
            bars = {account_id: progress.add_task(account_id) for account_id in account_ids}
            while not progress.finished:
                for account_id, bar in bars.items():
                    counts = [self._runtime.history.days(account_id, series) for series in Series]
                    progress.update(
                        bar, completed=sum(done for done, _ in counts), total=sum(all_ for _, all_ in counts)
                    )
                if gone := self._supervisor.wait(_POLL_S):
                    raise SupplierUnavailable(self._fall(gone[0].name, str(gone[0])))
                if time.monotonic() > give_up:
                    raise SupplierUnavailable(f"not done after {_LONGEST_S:.0f} s: see {self._folder / 'logs'}")

    def _fall(self, name: str, told: str) -> str:
        return f"{told}: {last_words(self._folder / 'logs' / f'{name}.log')}"


@contextmanager
def _started(folder: Path, preset: str, console: Console) -> Iterator[Demo]:
    """Servers up, own environment set; everything ends with the block, last started first."""
    with EmbeddedRedis(folder) as redis, Supervisor() as supervisor:
        port, web_port = free_port(), free_port()
        simulator, web = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{web_port}"
        env = _environment(folder, preset, redis.url, simulator, web)
        os.environ.update(env)
        get_settings.cache_clear()
        (folder / "demo.env").write_text(
            "".join(f"{name}='{value}'\n" for name, value in env.items()), encoding="utf-8"
        )
        logs = folder / "logs"
        argv = [sys.executable, "-m", "worker", "simulate", "--port", str(port)]
        supervisor.start("simulator", argv, env=env, log_path=logs / "simulator.log")
        with Runtime(get_settings()) as runtime:
            start_web(supervisor, env, logs, "127.0.0.1", web_port)
            start_engine(supervisor, env, logs)
            wait_for("the simulator", f"{simulator}/__sim__/health")
            wait_for("the web service", f"{web}/")
            console.print(f"started: Redis, simulator of {preset}, worker, beat, web at {web}")
            yield Demo(folder, supervisor, runtime, simulator, web, console)


def _environment(folder: Path, preset: str, redis_url: str, simulator: str, web: str) -> dict[str, str]:
    """Every setting, so that none of the user's own shines through."""
    own: dict[str, Any] = {
        "preset": preset,
        "enedis_url": simulator,
        "enedis_authorize_url": simulator,
        "public_url": web,
        "operator_password": _OPERATOR_PASSWORD,
        "flower_password": _OPERATOR_PASSWORD,
        "session_key": secrets.token_urlsafe(48),
        "data_dir": folder,
        "redis_url": redis_url,
        "broker_url": redis_url,
        "registry_url": f"sqlite:///{folder / 'registry.db'}",
        "measures_url": f"sqlite:///{folder / 'measures.db'}",
        "token_keys": new_key(),
    }
    return settings_apart(own, warn)
